-- name: count_rows()$
select count(*)
  from sample_data;
