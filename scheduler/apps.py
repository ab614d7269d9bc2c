"""The configuration of the Django app."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, router
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from scheduler.wakeup_messages import Sender

# The packages without which `scheduler` cannot be imported. They lie beside it.
_BESIDE = ("handlers", "dbpools")


class SchedulerConfig(AppConfig):
    name = "scheduler"
    verbose_name = _("Scheduler")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        _refuse_hidden_packages()
        _refuse_another_scheduler(self.name)
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        """Registers the handlers and the system checks. Opens no connection: workers fork later.

        Raises ImproperlyConfigured with all mistakes in settings.JOBU, or with the model that a
        router sends elsewhere: web processes run no system checks, and commands of ours none.
        """
        from celery.signals import import_modules
        from django.db.models.signals import pre_migrate

        from handlers import command, discover
        from scheduler import checks, project_checks, wakeups  # noqa: F401 - registers the checks
        from scheduler.alerts import delivery_handler
        from scheduler.conf import current
        from scheduler.events import emit
        from scheduler.operations import project_app
        from scheduler.operations.celery_app import keep_own_app, remember_own_app
        from scheduler.worker import celery_tasks

        settings_of_jobu = current()  # reads settings.JOBU
        _refuse_another_database(self)
        import_modules.connect(_import_task, dispatch_uid="jobu-task")
        if project_app.is_worker_or_beat():
            _import_task()  # the signal is under way: Celery's receiver has made Django ready
        pre_migrate.connect(checks.refuse_wrong_encoding, sender=self)
        pre_migrate.connect(checks.refuse_migrating_back, sender=self)
        wakeups.send_through(_sender)
        celery_tasks.install()
        delivery_handler.install()
        if django.VERSION >= (6, 0) or find_spec("django_tasks") is not None:
            from scheduler.django_tasks import handler

            handler.install()
        remember_own_app()
        # Before the project's own: a module that takes the name `command` is then reported.
        command.install(settings_of_jobu.commands.allow, shell=settings_of_jobu.commands.shell)
        self.discovered = discover(settings_of_jobu.handler_packages, after_import=keep_own_app)
        for module, error in self.discovered.failures:
            emit("discovery.failed", handler_module=module, error=error)


def _sender() -> Sender:
    from scheduler.clock import DatabaseClock
    from scheduler.operations.celery_app import own_app
    from scheduler.store.connection import database_now
    from scheduler.wakeup_messages import CelerySender

    return CelerySender(own_app(), DatabaseClock(database_now, 0))


def _import_task(**_: Any) -> None:
    """Makes jobu's task known to beat and workers, whether or not the project discovers tasks.

    Not in web processes: the code of a worker takes time to import.
    """
    import_module("scheduler.tasks")


def _refuse_hidden_packages() -> None:
    """A project's own handlers.py would be imported instead of our package, and fail far from here.

    `python -m jobu_project doctor` finds a project's own `scheduler`, which hides this file too.
    """
    for name in _BESIDE:
        loaded = sys.modules.get(name)
        spec = find_spec(name) if loaded is None else loaded.__spec__
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        ours = Path(__file__).resolve().parent.parent / name / "__init__.py"
        if found != ours:
            raise ImproperlyConfigured(
                f"The module {name!r} of jobu is hidden by {found or 'a folder of that name'}."
                f" Rename that, or move it into a package: shop/{name}.py is `shop.{name}`."
            )


def _refuse_another_scheduler(name: str) -> None:
    """Django would only say that the label `scheduler` is used twice."""
    others = [config.name for config in apps.app_configs.values() if config.label == name]
    others += [
        entry
        for entry in settings.INSTALLED_APPS
        if entry != name
        and not entry.startswith(f"{name}.")
        and (entry.endswith(f".{name}") or f".{name}.apps." in entry)
        and _label_of(entry) == name
    ]
    if others:
        raise ImproperlyConfigured(
            f"INSTALLED_APPS has two apps with the label {name!r}: jobu's, and {others[0]!r}. Give"
            f' the other one a label of its own in its AppConfig: label = "shop_{name}".'
        )


def _label_of(entry: str) -> str:
    return AppConfig.create(entry).label


def _refuse_another_database(config: AppConfig) -> None:
    """jobu's tables refer to the users, and its workers use one connection each."""
    if not settings.DATABASE_ROUTERS:
        return
    from django.contrib.auth import get_user_model

    users = get_user_model()
    for model in (*config.get_models(), users):
        places = {router.db_for_write(model)}
        # Reads of users from a replica are the project's affair: jobu only shows their names.
        if model is not users:
            places.add(router.db_for_read(model))
        for place in sorted(places - {DEFAULT_DB_ALIAS}):
            raise ImproperlyConfigured(
                f"A router of DATABASE_ROUTERS sends {model._meta.label} to the database {place!r}."
                f" jobu's tables and the users must be in {DEFAULT_DB_ALIAS!r}, jobu's for reads as"
                f" well. At the beginning of its methods: if model._meta.app_label =="
                f" {model._meta.app_label!r}: return {DEFAULT_DB_ALIAS!r}."
            )
