"""A run is divided by its job or by its handler, not by both."""

from __future__ import annotations

from django.utils.translation import gettext as _

from handlers import HandlerNotFoundError, get_handler
from handlers.fan_out import has_plan


def shards_problem(shards: object, handler_name: object) -> str | None:
    """What is wrong with a number of shards beside this handler, or None."""
    if shards is None or not isinstance(handler_name, str):
        return None
    try:
        handler = get_handler(handler_name)
    except HandlerNotFoundError:
        return None  # that is told of the handler
    if not has_plan(handler):
        return None
    return _("must be empty: the handler divides its runs by itself, with its plan()")
