"""The configuration of the Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SchedulerConfig(AppConfig):
    name = "scheduler"
    verbose_name = _("Scheduler")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the handlers and the system checks. Opens no connection: workers fork later."""
        from handlers import discover
        from scheduler import checks  # noqa: F401 - registers the checks
        from scheduler.conf import current
        from scheduler.events import emit
        from scheduler.worker import celery_tasks

        celery_tasks.install()
        for module, error in discover(current().handler_packages).failures:
            emit("discovery.failed", handler_module=module, error=error)
