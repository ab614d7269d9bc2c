"""The pages of failures by their kind: the list, one kind with its runs, and what people do."""
