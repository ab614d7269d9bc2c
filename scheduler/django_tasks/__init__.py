"""The door for `django.tasks`: calls of tasks become executions, and executions run tasks.

Knows the task framework, and nothing of the other doors.
"""

from scheduler.django_tasks.backend import JobuBackend
from scheduler.django_tasks.options import run_with

__all__ = ["JobuBackend", "run_with"]
