"""The page of limits: groups of jobs, what goes on and waits in each, and changing them."""
