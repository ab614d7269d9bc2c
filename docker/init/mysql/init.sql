-- What the sample handlers need on MySQL 8 or MariaDB: the table `sample_data`, and a user for handlers.
--
-- The images `mysql` and `mariadb` run this once, in the database MYSQL_DATABASE, when their volume is
-- empty. By hand, as a user who may create users:
--     mysql --host=127.0.0.1 --user=root --password DATABASE < docker/init/mysql/init.sql
-- Running it again changes nothing. jobu's own tables are made by `manage.py migrate`.

create table if not exists sample_data (
    id bigint not null auto_increment primary key,
    name varchar(255) not null,
    value mediumtext,
    -- Not current_timestamp: that is in the session's zone, and jobu's instants are UTC.
    created_at datetime(6) not null default (utc_timestamp(6)),
    writer_handler varchar(100),
    -- For reports that count by handler.
    index sample_data_writer_handler (writer_handler)
) engine = InnoDB default character set utf8mb4;

-- Handlers connect as a user of their own, who sees the samples' table and nothing of jobu's.
-- The password is for a development machine; elsewhere: alter user 'jobu_handlers'@'%' identified by '...'.
create user if not exists 'jobu_handlers'@'%' identified by 'jobu_handlers';
grant select, insert, update, delete on sample_data to 'jobu_handlers'@'%';
