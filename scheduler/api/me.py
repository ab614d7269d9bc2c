"""/me: the caller, and what the caller may do."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.system import MeOut
from scheduler.operations.permissions import Action

router = Router()


@router.get("/me", response=answers(MeOut), auth=needs(None), tags=["me"])
def who_am_i(request: HttpRequest) -> dict[str, Any]:
    """Returns the user of the session or token, and what the caller may do."""
    refuse_unknown(request)
    caller = caller_of(request)
    return {
        "user": caller.name,
        "token": caller.token.name if caller.token else None,
        "scopes": sorted(caller.token.scopes) if caller.token else None,
        "expires_at": caller.token.expires_at if caller.token else None,
        "may": [action.value for action in Action if caller.may(action)],
    }
