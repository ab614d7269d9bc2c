-- name: create(name, value, writer_handler)<!
-- The id of the new row.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler)
returning id;

-- name: read(id, limit)
-- The row of that id, or without an id the newest rows first. The casts give a NULL its type.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id::bigint
    or :id::bigint is null
 order by id desc
 limit :limit;

-- name: update(id, name, value)
-- Returns the changed row, or none if there is no such row. A NULL leaves the column unchanged.
update sample_data
   set name = coalesce(:name, name),
       value = coalesce(:value, value)
 where id = :id
returning id, name, value, created_at, writer_handler;

-- name: delete(id)
-- Returns the deleted row.
delete from sample_data
 where id = :id
returning id, name, value, created_at, writer_handler;
