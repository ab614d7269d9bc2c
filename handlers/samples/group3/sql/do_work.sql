-- name: add(name, writer_handler)<!
-- The new row's id. PostgreSQL has its own text in do_work.postgres.sql.
insert into sample_data (name, writer_handler)
values (:name, :writer_handler);
