"""The front page of the admin: running, failing and planned runs, and jobs that get slower."""
