-- name: rows_since(id)
-- In the source: the rows by id.
select id, name, value, created_at
  from sample_data
 where id > :id
 order by id;

-- name: upsert(id, name, value, created_at, writer_handler)*!
-- In the target. MySQL and MariaDB both know VALUES(); newer syntax differs.
insert into sample_data (id, name, value, created_at, writer_handler)
values (:id, :name, :value, :created_at, :writer_handler)
on duplicate key update
       name = values(name),
       value = values(value),
       created_at = values(created_at),
       writer_handler = values(writer_handler);
