-- name: has_table()$
-- 1 if the table exists, else 0.
select count(*)
  from sqlite_master
 where type = 'table'
   and name = 'sample_data';

-- name: create_table#
-- The same table as in docker/init/postgres/init.sql and docker/init/mysql/init.sql.
create table if not exists sample_data (
    id integer primary key autoincrement,
    name text not null,
    value text,
    created_at datetime not null default current_timestamp,
    writer_handler text
);
-- For reports that count by handler.
create index if not exists sample_data_writer_handler on sample_data (writer_handler);
