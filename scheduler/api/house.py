"""/handlers, /processes and /me: what there is to run, who runs it, and who you are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Router

from handlers import get_handler
from handlers.params import json_schema
from handlers.registry import handler_names
from scheduler.api.acting import control_of
from scheduler.api.answers import answers
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.schemas import HandlerList, HandlerOut, MeOut, ProcessList
from scheduler.models import SchedulerProcess
from scheduler.operations.health import STALE_AFTER, liveness
from scheduler.operations.permissions import Action

router = Router()


@router.get(
    "/handlers", response=answers(HandlerList), auth=needs(Action.VIEW_JOBS), tags=["handlers"]
)
def list_handlers(request: HttpRequest) -> dict[str, Any]:
    """Every name that a job may use, with the JSON Schema of its parameters."""
    refuse_unknown(request)
    return {"items": [_described(name) for name in handler_names()]}


@router.get(
    "/handlers/{name}",
    response=answers(HandlerOut, 404),
    auth=needs(Action.VIEW_JOBS),
    tags=["handlers"],
)
def get_handler_by_name(request: HttpRequest, name: str) -> dict[str, Any]:
    """One handler, with the JSON Schema of its parameters."""
    refuse_unknown(request)
    return _described(name)


@router.get(
    "/processes",
    response=answers(ProcessList),
    auth=needs(Action.VIEW_PROCESSES),
    tags=["processes"],
)
def list_processes(request: HttpRequest) -> dict[str, Any]:
    """Beats and workers with their heartbeats, and what that means for the whole."""
    refuse_unknown(request)
    now = control_of(caller_of(request)).clock.now()
    names = ("name", "kind", "host", "pid", "started_at", "heartbeat_at", "running")
    items = [
        {
            **{name: getattr(each, name) for name in names},
            "is_alive": now - each.heartbeat_at <= STALE_AFTER,
        }
        for each in SchedulerProcess.objects.order_by("kind", "name")[:1000]
    ]
    return {"items": items, "liveness": asdict(liveness(now))}


@router.get("/me", response=answers(MeOut), auth=needs(None), tags=["me"])
def who_am_i(request: HttpRequest) -> dict[str, Any]:
    """Whom the session or the token stands for, and what that may do."""
    refuse_unknown(request)
    caller = caller_of(request)
    return {
        "user": caller.name,
        "token": caller.token.name if caller.token else None,
        "scopes": sorted(caller.token.scopes) if caller.token else None,
        "expires_at": caller.token.expires_at if caller.token else None,
        "may": [action.value for action in Action if caller.may(action)],
    }


def _described(name: str) -> dict[str, Any]:
    cls = get_handler(name)
    return {
        "name": name,
        "description": cls.description,
        "databases": list(cls.databases),
        "params_schema": json_schema(cls),
    }
