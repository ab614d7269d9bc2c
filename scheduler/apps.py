"""The configuration of the Django app."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import django
from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from scheduler.wakeups import Messenger


class SchedulerConfig(AppConfig):
    name = "scheduler"
    verbose_name = _("Scheduler")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the handlers and the system checks. Opens no connection: workers fork later.

        Raises ImproperlyConfigured with all mistakes in settings.JOBU.
        """
        from celery.signals import import_modules
        from django.db.models.signals import pre_migrate

        from handlers import discover
        from scheduler import checks, wakeups  # registers the checks
        from scheduler.conf import current
        from scheduler.events import emit
        from scheduler.operations import project_app
        from scheduler.operations.celery_app import keep_own_app, remember_own_app
        from scheduler.worker import celery_tasks

        packages = current().handler_packages  # reads settings.JOBU
        import_modules.connect(_import_task, dispatch_uid="jobu-task")
        if project_app.is_worker_or_beat():
            _import_task()  # the signal is under way: Celery's receiver has made Django ready
        pre_migrate.connect(checks.refuse_wrong_encoding, sender=self)
        wakeups.send_through(_messenger)
        celery_tasks.install()
        if django.VERSION >= (6, 0) or find_spec("django_tasks") is not None:
            from scheduler.django_tasks import handler

            handler.install()
        remember_own_app()
        self.discovered = discover(packages, after_import=keep_own_app)
        for module, error in self.discovered.failures:
            emit("discovery.failed", handler_module=module, error=error)


def _messenger() -> Messenger:
    from scheduler.beat.publisher import CeleryPublisher
    from scheduler.clock import DatabaseClock
    from scheduler.operations.celery_app import own_app
    from scheduler.store.connection import database_now

    return CeleryPublisher(own_app(), DatabaseClock(database_now, 0))


def _import_task(**_: Any) -> None:
    """Makes jobu's task known to beat and workers, whether or not the project discovers tasks.

    Not in web processes: the code of a worker takes time to import.
    """
    import_module("scheduler.tasks")
