"""The command palette: one field that finds jobs, runs, pages and what may be done with a job."""
