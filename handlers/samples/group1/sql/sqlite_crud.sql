-- name: create(name, value, writer_handler)<!
-- The id of the new row.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler);

-- name: latest(limit)
-- The newest rows first.
select id, name, value, created_at, writer_handler
  from sample_data
 order by id desc
 limit :limit;

-- name: by_id(id)
-- One row, or none.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id;

-- name: update(id, name, value)!
-- A NULL leaves the column unchanged.
update sample_data
   set name = coalesce(:name, name),
       value = coalesce(:value, value)
 where id = :id;

-- name: delete(id)!
delete from sample_data
 where id = :id;
