"""Imports the modules of the project's Celery tasks, so that every process knows all tasks.

Celery itself imports them only in its workers. A page, the API and a command need them, too, when
they look up the first task: not before, because an import in `ready()` enters Django's setup again.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from celery import Celery
from celery.fixups.django import DjangoFixup
from celery.signals import import_modules
from django.apps import apps

from handlers.json_safe import storable_text
from scheduler.conf import current
from scheduler.events import emit
from scheduler.operations.celery_app import keep_own_app

_lock = threading.RLock()
_is_loading = False
_loaded: list[Celery] = []
# Module -> the class of the error at its import.
_broken: dict[str, str] = {}


def load(app: Celery) -> None:
    """Imports the modules once. One that fails is named in the log and does not stop the others."""
    global _is_loading
    if app in _loaded or not apps.ready:
        return
    with _lock:
        # Celery runs Django's system checks before the import, and a check may look up a handler.
        if _is_loading or app in _loaded:
            return
        _is_loading = True
        try:
            _import_all(app)
            _loaded.append(app)
        finally:
            _is_loading = False


def broken() -> dict[str, str]:
    """Returns the modules that could not be imported, with the class of the error."""
    return dict(_broken)


def _import_all(app: Celery) -> None:
    try:
        with _without_django_setup(app):
            app.loader.import_default_modules()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - modules are user code
        # Celery stops at the first module that fails, and does not say which one it is.
        failed_before = len(_broken)
        _import_each(_default_modules(app))
        if len(_broken) == failed_before:
            _report("(unknown)", error)
    _import_each(current().task_modules)


@contextmanager
def _without_django_setup(app: Celery) -> Iterator[None]:
    """Celery's receiver would call `django.setup()` again, and run all system checks.

    That configures the log anew, in the middle of a request: with Django's own LOGGING, loggers
    that exist by then fall silent.
    """
    receivers = [fixup.on_import_modules for fixup in app._fixups if isinstance(fixup, DjangoFixup)]
    for receiver in receivers:
        import_modules.disconnect(receiver, sender=app)
    try:
        yield
    finally:
        for receiver in receivers:
            import_modules.connect(receiver, sender=app)


def _import_each(modules: Iterable[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            _report(module, error)
        finally:
            keep_own_app(module)


def _default_modules(app: Celery) -> Iterator[str]:
    for config in apps.get_app_configs():
        module = f"{config.name}.tasks"
        if importlib.util.find_spec(module) is not None:
            yield module
    yield from app.loader.default_modules


def _report(module: str, error: BaseException) -> None:
    _broken[module] = type(error).__name__
    text = storable_text(f"{type(error).__name__}: {error}", 2048)
    emit("discovery.tasks_failed", task_module=module, error=text)
