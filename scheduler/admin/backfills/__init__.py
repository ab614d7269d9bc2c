"""The pages of backfills: the list, starting one behind a dry run, and the page of one."""
