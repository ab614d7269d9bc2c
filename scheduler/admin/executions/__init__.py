"""The pages of executions: the list, the page of one, and retrying a range of time."""
