-- name: create(name, value, writer_handler)<!
-- The id of the new row.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler)
returning id;

-- name: read(id, limit)
-- One row, or without an id the newest first. The casts tell PostgreSQL what a NULL would be.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id::bigint
    or :id::bigint is null
 order by id desc
 limit :limit;

-- name: update(id, name, value)
-- The row as it is now; what is not given stays. No row: there was none.
update sample_data
   set name = coalesce(:name, name),
       value = coalesce(:value, value)
 where id = :id
returning id, name, value, created_at, writer_handler;

-- name: delete(id)
-- The row as it was.
delete from sample_data
 where id = :id
returning id, name, value, created_at, writer_handler;
