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
        from django.db.models.signals import pre_migrate

        from handlers import discover
        from scheduler import checks  # registers the checks
        from scheduler.conf import current
        from scheduler.events import emit
        from scheduler.operations.celery_app import keep_own_app, remember_own_app
        from scheduler.worker import celery_tasks

        pre_migrate.connect(checks.refuse_wrong_encoding, sender=self)
        celery_tasks.install()
        remember_own_app()
        found = discover(current().handler_packages, after_import=keep_own_app)
        for module, error in found.failures:
            emit("discovery.failed", handler_module=module, error=error)
