"""Params that a caller sends: a mask that the API has shown is replaced by the secret it hides.

Two functions here may require the permission to see params. Otherwise, a caller could send a
mask beside a new parameter (a host, say), or to another handler, and read the secret there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from scheduler.api.auth import Caller
from scheduler.api.errors import invalid
from scheduler.operations.masking import left_masked, mask, unmask
from scheduler.operations.permissions import Action


def unmask_params(params: dict[str, Any], stored: Any, *, field: str = "params") -> dict[str, Any]:
    """Returns `params` with each mask replaced by the secret that it hides in `stored`.

    Raises ApiError for a mask that hides no stored secret.
    """
    found: dict[str, Any] = unmask(params, stored)
    if places := list(left_masked(found)):
        text = _("a masked value stands where no secret is stored: %(places)s")
        raise invalid({field: [text % {"places": ", ".join(places)}]})
    return found


def replacement_params(
    caller: Caller, params: dict[str, Any] | None, stored: Callable[[], Any]
) -> dict[str, Any] | None:
    """Returns the params that replace the stored ones. None: the caller has sent none.

    Raises ApiError if the user may not see params.
    """
    if params is None:
        return None
    # The token's scopes do not matter: a token that may only operate also sends params.
    caller.require_of_user(Action.VIEW_PARAMS)
    return unmask_params(params, stored())


def event_params(
    caller: Caller, params: dict[str, Any], stored: Any, *, is_other_handler: bool
) -> dict[str, Any]:
    """Returns the params of an event, which the operation merges into the job's stored ones.

    Raises ApiError if the stored params hold secrets, the event changes params or handler, and the
    user may not see params.
    """
    if (params or is_other_handler) and mask(stored) != stored:
        caller.require_of_user(Action.VIEW_PARAMS)
    return unmask_params(params, stored)
