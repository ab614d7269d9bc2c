"""The page of what ran, runs and will run: jobs by rows, time by columns."""
