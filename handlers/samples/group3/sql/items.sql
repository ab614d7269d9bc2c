-- name: create(name, value, writer_handler)<!
-- The id of the new item.
insert into sample_data (name, value, writer_handler)
values (:name, :value, :writer_handler);

-- name: by_id(id)^
select id, name, value, created_at, writer_handler
  from sample_data
 where id = :id;

-- name: of_writer(writer_handler)
-- The newest hundred first.
select id, name, value, created_at, writer_handler
  from sample_data
 where writer_handler = :writer_handler
 order by id desc
 limit 100;

-- name: update(id, name, value)!
update sample_data
   set name = :name,
       value = :value
 where id = :id;

-- name: delete(id)!
delete from sample_data
 where id = :id;
