"""Finds the Celery app of the project in which jobu is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from celery import Celery, _state
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from scheduler.conf import current

# The name of the app that Celery makes when somebody asks for one and the project has made none.
FALLBACK: Final = "default"


def find() -> Celery | None:
    """Returns the app that `JOBU["celery_app"]` names, or that of `celery.py` beside the settings,
    or the current app. None: the project has made none yet.

    The current app alone would not do: it depends on the thread, and on who made an app last.
    Raises ImproperlyConfigured if `JOBU["celery_app"]` does not name a Celery app.
    """
    named = current().celery_app
    if named:
        return _named(named)
    for package in _packages_of_the_settings():
        if (found := _in_module(f"{package}.celery")) is not None:
            return found
    # Not celery.current_app: it makes an app where there is none, and the project's comes too late.
    made: Celery | None = _state._tls.current_app or _state.default_app
    return None if made is None or made.main == FALLBACK else made


def is_worker_or_beat() -> bool:
    """True in a process of Celery that imports the tasks, or has imported them."""
    return any(app.loader.worker_initialized for app in _state._get_active_apps())


def _named(name: str) -> Celery:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute or "app")
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f'JOBU["celery_app"] is {name!r}, which cannot be imported: {error}.'
            ' Write it as "shop.celery:app".'
        ) from error
    if not isinstance(found, Celery):
        raise ImproperlyConfigured(
            f'JOBU["celery_app"] is {name!r}, which is no Celery app but a {type(found).__name__}.'
            ' Write it as "shop.celery:app".'
        )
    return found


def _packages_of_the_settings() -> Iterator[str]:
    """`shop.settings.live` has the packages `shop.settings` and `shop`."""
    package = str(getattr(settings, "SETTINGS_MODULE", None) or "").rpartition(".")[0]
    while package:
        yield package
        package = package.rpartition(".")[0]


def _in_module(name: str) -> Celery | None:
    """Returns the Celery app of a module. None: there is no such module, or it has none (yet)."""
    if find_spec(name) is None:
        return None
    module = importlib.import_module(name)
    found = [getattr(module, "app", None), getattr(module, "celery_app", None)]
    return next((each for each in found if isinstance(each, Celery)), None)
