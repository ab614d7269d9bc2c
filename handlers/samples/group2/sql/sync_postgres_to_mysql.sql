-- name: rows_since(id)
-- From the source, in the order of their ids.
select id, name, value, created_at
  from sample_data
 where id > :id
 order by id;

-- name: upsert(id, name, value, created_at, writer_handler)*!
-- On the target. VALUES() is what MySQL and MariaDB have in common here.
insert into sample_data (id, name, value, created_at, writer_handler)
values (:id, :name, :value, :created_at, :writer_handler)
on duplicate key update
       name = values(name),
       value = values(value),
       created_at = values(created_at),
       writer_handler = values(writer_handler);
