"""The Celery task of jobu, where Celery's autodiscovery looks for it."""

from scheduler.worker import message_guard  # noqa: F401 - guards the worker that imports it
from scheduler.worker.task import work

__all__ = ["work"]
