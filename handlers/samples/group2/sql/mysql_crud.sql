-- name: create(name, value, writer_handler)<!
-- The id of the new row, which MySQL tells with its answer.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler);

-- name: just_created()
-- The row that this connection has inserted last.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = last_insert_id();

-- name: read(id, limit)
-- One row, or without an id the newest first.
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id
    or :id is null
 order by id desc
 limit :limit;

-- name: update(id, name, value)!
-- What is not given stays.
update sample_data
   set name = coalesce(:name, name),
       value = coalesce(:value, value)
 where id = :id;

-- name: delete(id)!
delete from sample_data
 where id = :id;
