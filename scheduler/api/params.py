"""Params as a caller means them: a mask that was read here stands for the secret behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from scheduler.api.auth import Caller
from scheduler.api.errors import invalid
from scheduler.operations.masking import left_masked, mask, unmask
from scheduler.operations.permissions import Action


def meant(params: dict[str, Any], stored: Any, *, field: str = "params") -> dict[str, Any]:
    """`params` with the secrets of `stored` put back. ApiError for a mask with none behind it."""
    found: dict[str, Any] = unmask(params, stored)
    if places := list(left_masked(found)):
        text = _("a masked value stands where no secret is stored: %(places)s")
        raise invalid({field: [text % {"places": ", ".join(places)}]})
    return found


def meant_by(
    caller: Caller, params: dict[str, Any] | None, stored: Callable[[], Any]
) -> dict[str, Any] | None:
    """Params in place of the stored ones, from those alone who may see these: next to a parameter
    of one's own, a mask would carry a secret to where one can read it. None stays None.
    """
    if params is None:
        return None
    # Of the user, not of the token: one that only operates sends parameters, too.
    caller.require_of_user(Action.VIEW_PARAMS)
    return meant(params, stored())


def laid_over(
    caller: Caller, params: dict[str, Any], stored: Any, *, is_other_handler: bool
) -> dict[str, Any]:
    """Params of an event, to lie over those of its job.

    Over secrets only from those who may see them, and so with another handler than the job's: next
    to a parameter of one's own, or to a handler of one's choice, they go where one can read them.
    """
    if (params or is_other_handler) and mask(stored) != stored:
        caller.require_of_user(Action.VIEW_PARAMS)
    return meant(params, stored)
