"""/handlers: the handlers that a job can use."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from handlers import get_handler
from handlers.registry import handler_names
from handlers.validation import json_schema
from scheduler.api.auth import needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.system import HandlerList, HandlerOut
from scheduler.operations.permissions import Action

router = Router()


@router.get(
    "/handlers", response=answers(HandlerList), auth=needs(Action.VIEW_JOBS), tags=["handlers"]
)
def list_handlers(request: HttpRequest) -> dict[str, Any]:
    """Returns every handler that a job can use, with the JSON Schema of its parameters."""
    refuse_unknown(request)
    return {"items": [_described(name) for name in handler_names()]}


@router.get(
    "/handlers/{name}",
    response=answers(HandlerOut, 404),
    auth=needs(Action.VIEW_JOBS),
    tags=["handlers"],
)
def get_handler_by_name(request: HttpRequest, name: str) -> dict[str, Any]:
    """Returns one handler with the JSON Schema of its parameters."""
    refuse_unknown(request)
    return _described(name)


def _described(name: str) -> dict[str, Any]:
    cls = get_handler(name)
    return {
        "name": name,
        "description": cls.description,
        "databases": list(cls.databases),
        "params_schema": json_schema(cls),
    }
