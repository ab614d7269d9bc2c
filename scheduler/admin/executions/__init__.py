"""The pages of executions: the list, the page of one execution, and the retry of a time range."""
