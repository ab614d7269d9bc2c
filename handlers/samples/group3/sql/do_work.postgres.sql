-- name: add(name, writer_handler)<!
-- PostgreSQL returns the id only with RETURNING.
insert into sample_data (name, writer_handler)
values (:name, :writer_handler)
returning id;
