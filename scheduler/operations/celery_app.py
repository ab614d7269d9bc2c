"""The Celery app that jobu works with: the project's own.

Celery's `current_app` is whichever app was made last in the present thread. A module of handlers
that makes one, or imports another project, must not change the app of beat, worker, web and checks.
"""

from __future__ import annotations

from celery import Celery, _state, current_app

from scheduler.events import emit
from scheduler.operations import project_app

_own: Celery | None = None


def own_app() -> Celery:
    """Returns the project's app, or the current one where the project has none."""
    global _own
    _own = _own or project_app.find()
    return _own or current_app._get_current_object()


def remember_own_app() -> None:
    """Call it before any module of handlers is imported."""
    global _own
    _own = project_app.find()


def keep_own_app(handler_module: str) -> None:
    """Makes the project's app the current one again after `handler_module` was imported."""
    made = _state._tls.current_app
    if _own is not None and made is not None and made is not _own:
        _own.set_current()
        emit("discovery.celery_app", handler_module=handler_module, app=made.main)


def missing_queue(queue: str) -> str | None:
    """Returns the queue if Celery cannot send to it; "" is the default queue. None: it can.

    Celery makes queues when it needs them, unless `task_create_missing_queues` is off.
    """
    app = own_app()
    name = queue or str(app.conf.task_default_queue)
    if app.conf.task_create_missing_queues or name in app.amqp.queues:
        return None
    return name


def known_queues() -> list[str]:
    return sorted(own_app().amqp.queues)
