-- name: rows_after(id, batch_size)
-- In the source: the next rows by id.
select id, name, value, created_at
  from sample_data
 where id > :id
 order by id
 limit :batch_size;

-- name: keep_writers_out()!
-- In the target: until the commit, others may read but not write. A second sync waits.
lock table sample_data in share row exclusive mode;

-- name: upsert(id, name, value, created_at, writer_handler)*!
insert into sample_data (id, name, value, created_at, writer_handler)
values (:id, :name, :value, :created_at, :writer_handler)
on conflict (id) do update
   set name = excluded.name,
       value = excluded.value,
       created_at = excluded.created_at,
       writer_handler = excluded.writer_handler;

-- name: move_sequence()$
-- Rows inserted with an id do not advance the sequence: the next INSERT without one would collide.
select setval(
    pg_get_serial_sequence('sample_data', 'id'),
    greatest(
        (select max(id) from sample_data),
        nextval(pg_get_serial_sequence('sample_data', 'id'))
    )
);
