"""What a person may do, through every door: the admin, the API or a command.

Knows: the store, schedules, permissions, who did what. Must not know: requests, templates, HTTP,
terminals, Celery's beat and worker.
"""
