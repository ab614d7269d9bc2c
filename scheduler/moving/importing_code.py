"""Imports what `module:name` names."""

from __future__ import annotations

import importlib
from typing import Any

from django.utils.translation import gettext as _

from scheduler.moving.entries import UnreadableSource


def imported(where: str) -> Any:
    """Returns the object. Raises UnreadableSource when it cannot be imported."""
    module, colon, name = where.partition(":")
    if not (module and colon and name):
        raise UnreadableSource(_("%(where)s is not MODULE:NAME") % {"where": repr(where)})
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        facts = {"where": where, "error": f"{type(error).__name__}: {error}"}
        raise UnreadableSource(_("%(where)s cannot be imported: %(error)s") % facts) from error
    return found
