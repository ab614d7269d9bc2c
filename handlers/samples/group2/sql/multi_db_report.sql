-- name: written_by_handler()
-- How many rows each handler wrote; the same text on every engine.
select coalesce(writer_handler, '(unknown)') as handler,
       count(*) as written
  from sample_data
 group by writer_handler
 order by writer_handler;
