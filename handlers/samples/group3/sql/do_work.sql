-- name: add(name, writer_handler)<!
-- The id of the new row. PostgreSQL uses do_work.postgres.sql instead.
insert into sample_data (name, writer_handler)
values (:name, :writer_handler);
