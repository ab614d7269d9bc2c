"""The pages of backfills: the list, the start with a dry run, and the page of one backfill."""
