"""The Celery task of jobu, where Celery's autodiscovery looks for it."""

from scheduler.worker.process import execute

__all__ = ["execute"]
