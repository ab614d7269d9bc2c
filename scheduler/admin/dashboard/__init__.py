"""The front page of the admin: what runs, what fails, what comes next, what gets slower."""
