"""When a job runs. No test here touches a database."""
