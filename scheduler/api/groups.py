"""/concurrency-groups: limits that several jobs share. Names are in bodies: they may hold `/`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import groups_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.groups import GroupIn, GroupList, GroupName, GroupSaved
from scheduler.operations.groups import SETTABLE, Group
from scheduler.operations.permissions import Action

router = Router(tags=["concurrency groups"])


@router.get("/concurrency-groups", response=answers(GroupList), auth=needs(Action.VIEW_JOBS))
def list_groups(request: HttpRequest) -> dict[str, Any]:
    """Returns the groups by name, with what goes on and waits in each."""
    refuse_unknown(request)
    caller = caller_of(request)
    sees_keys = caller.may(Action.VIEW_PARAMS)
    return {"items": [_shown(group, sees_keys=sees_keys) for group in groups_of(caller).all()]}


@router.put(
    "/concurrency-groups", response=answers(GroupSaved, 409), auth=needs(Action.CHANGE_LIMITS)
)
def save_group(request: HttpRequest, given: GroupIn) -> Any:
    """Make a group, or change it: what is left out stays. What may go on now is woken."""
    values = given.model_dump(exclude_unset=True, exclude={"name", "updated_at"})
    control = groups_of(caller_of(request))
    return control.set_limits(given.name, seen_at=given.updated_at, **values)


@router.post(
    "/concurrency-groups/delete",
    response={**answers(None, 409, status=204)},
    auth=needs(Action.CHANGE_LIMITS),
)
def delete_group(request: HttpRequest, given: GroupName) -> Status[None]:
    """Delete a group that no job names."""
    groups_of(caller_of(request)).delete(given.name)
    return Status(204, None)


def _shown(group: Group, *, sees_keys: bool) -> dict[str, Any]:
    row, waiting = group.row, group.waiting
    names = ("name", *SETTABLE, "is_of_settings", "updated_at")
    return {
        **{name: getattr(row, name) for name in names},
        "jobs": group.jobs,
        "running": waiting.running,
        "waiting": waiting.waiting,
        "keys": waiting.keys if sees_keys else None,
    }
