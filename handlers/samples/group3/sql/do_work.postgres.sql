-- name: add(name, writer_handler)<!
-- PostgreSQL tells an id only when asked.
insert into sample_data (name, writer_handler)
values (:name, :writer_handler)
returning id;
