"""Imports what `module:name` names, and packages that only some sources need."""

from __future__ import annotations

import importlib
from typing import Any

from django.utils.translation import gettext as _

from scheduler.moving.entries import UnreadableSource


def optional(package: str) -> Any:
    """Returns a package that jobu does not require. UnreadableSource: it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        text = _("the package %(package)s is not installed") % {"package": package}
        raise UnreadableSource(text) from error


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
