"""Why a run waits under a limit, in the reader's words: from the code and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.states import ReasonCode

CODES: Final = frozenset({ReasonCode.LIMIT_REACHED.value, ReasonCode.RATE_REACHED.value})


def why_it_waits(code: str | None, facts: object, *, key_path: str = "") -> str:
    """Returns a sentence, or nothing if the code says something else.

    `key_path`: the key of the job, such as params.tenant.
    """
    if code not in CODES or not isinstance(facts, Mapping):
        return ""
    sentence = _limit(facts) if code == ReasonCode.LIMIT_REACHED else _rate(facts)
    return f"{sentence} {more}" if (more := _about_key(facts, key_path)) else sentence


def _limit(facts: Mapping[str, Any]) -> str:
    group, limit = facts.get("group"), facts.get("limit", "?")
    values = {"group": group, "limit": limit}
    if group and facts.get("per_key"):
        text = _("It waits for a place: group %(group)s runs at most %(limit)s at once per key.")
    elif group:
        text = _("It waits for a place: group %(group)s runs at most %(limit)s at once.")
    elif facts.get("per_key"):
        text = _("It waits for a place: its job runs at most %(limit)s at once per key.")
    else:
        text = _("It waits for a place: its job runs at most %(limit)s at once.")
    return text % values


def _rate(facts: Mapping[str, Any]) -> str:
    values = {name: facts.get(name, "?") for name in ("group", "limit", "seconds")}
    if facts.get("per_key"):
        text = _("Group %(group)s starts at most %(limit)s runs in %(seconds)s s per key.")
    else:
        text = _("Group %(group)s starts at most %(limit)s runs in %(seconds)s s.")
    return text % values


def _about_key(facts: Mapping[str, Any], key_path: str) -> str:
    if not facts.get("per_key"):
        return ""
    match facts.get("key_is"):
        case "absent":
            text = _("Its parameters have no value for the key%(path)s: such runs share one place.")
        case "not_scalar":
            text = _("The value of the key%(path)s is no single value: such runs share one place.")
        case "no_path":
            text = _("The key%(path)s is no path, such as params.tenant: all runs share one place.")
        case _:
            text = _("The key is %(path)s.") if key_path else ""
            return text % {"path": key_path} if text else ""
    return text % {"path": f" {key_path}" if key_path else ""}
