"""The pages of jobs: the list, the form with its checks and preview, and the verbs."""
