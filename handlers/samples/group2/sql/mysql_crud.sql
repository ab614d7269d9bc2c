-- name: create(name, value, writer_handler)<!
-- The id of the new row, which is part of MySQL's response.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler);

-- name: just_created()
-- The last row that this connection inserted.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = last_insert_id();

-- name: read(id, limit)
-- The row of that id, or without an id the newest rows first.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id
    or :id is null
 order by id desc
 limit :limit;

-- name: update(id, name, value)!
-- A NULL leaves the column unchanged.
update sample_data
   set name = coalesce(:name, name),
       value = coalesce(:value, value)
 where id = :id;

-- name: delete(id)!
delete from sample_data
 where id = :id;
