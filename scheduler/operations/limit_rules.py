"""What makes the limits of a job, and those of a group, usable."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final, Union, get_args, get_origin

from django.utils.translation import gettext as _
from pydantic import BaseModel

from dbpools.nearest import nearest
from handlers import HandlerNotFoundError, get_handler
from handlers.params import HandlerParams, names_of
from scheduler.concurrency import path_parts
from scheduler.conf import SchedulerSettings
from scheduler.models import GROUP_LIMITS, CronJob
from scheduler.operations.errors import Problems
from scheduler.operations.job_values import is_storable
from scheduler.operations.secret_names import looks_secret
from scheduler.store import limited_jobs

_SHOWN: Final = 5


def job_problems(job: CronJob, settings: SchedulerSettings) -> Problems:
    """What is wrong with the group and the key of a job, by field."""
    found: Problems = {}
    group, path = job.concurrency_group, job.concurrency_key
    if isinstance(group, str) and group and (problem := _group(group, settings)):
        found["concurrency_group"] = [problem]
    if isinstance(path, str) and path and (problem := _key(job, path)):
        found["concurrency_key"] = [problem]
    return found


def _group(name: str, settings: SchedulerSettings) -> str | None:
    if not is_storable(name):
        return None  # the check of texts says what is wrong with it
    # Beat writes those of the configuration when it starts.
    if name in settings.concurrency_groups or limited_jobs.group(name):
        return None
    known = sorted({*settings.concurrency_groups, *(row.name for row in limited_jobs.groups())})
    if not known:
        return _("there is no group %(name)s: none is defined") % {"name": name}
    if near := nearest(name, known):
        text = _("there is no group %(name)s (did you mean %(near)s?)")
        return text % {"name": name, "near": near}
    return _("there is no group %(name)s, one of %(known)s") % {
        "name": name,
        "known": ", ".join(known[:_SHOWN]),
    }


def _key(job: CronJob, path: str) -> str | None:
    parts = path_parts(path)
    if parts is None:
        return _("must be a path such as params.tenant")
    if job.max_running is None and not job.concurrency_group:
        return _("needs a group, or “most runs at once”: a key alone limits nothing")
    if any(looks_secret(part) for part in parts):
        return _("names a secret, and people see the keys for which runs wait")
    try:
        model = get_handler(job.handler_name).params_model
    except (HandlerNotFoundError, TypeError):
        return None  # another field has this problem
    return _missing(model, parts)


def _missing(model: Any, parts: list[str]) -> str | None:
    """Why params that the handler has declared cannot have this path. None: they can."""
    name, *rest = parts
    if model is HandlerParams or name not in names_of(model):
        if model is HandlerParams or model.model_config.get("extra") == "allow":
            return None
        text = _("the handler has no parameter %(name)s") % {"name": name}
        near = nearest(name, names_of(model))
        return text + (_(" (did you mean %(name)s?)") % {"name": repr(near)} if near else "")
    field = model.model_fields.get(name)
    if field is None:
        return None  # an alias: what is behind it is not looked up
    kinds = _alternatives(field.annotation)
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    if not rest:
        is_flat = any(not _is_container(kind) for kind in kinds)
        text = _("the parameter %(name)s is no single value")
        return None if is_flat else text % {"name": name}
    if any(_may_have_members(kind) for kind in kinds):
        return None
    problems = [_missing(kind, rest) for kind in models]
    if None in problems:
        return None
    return problems[0] if problems else _("the parameter %(name)s has no members") % {"name": name}


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [each for part in get_args(annotation) for each in _alternatives(part)]
    return [] if annotation is type(None) else [annotation]


def _is_container(kind: Any) -> bool:
    plain = get_origin(kind) or kind
    return isinstance(plain, type) and issubclass(
        plain, BaseModel | Mapping | list | tuple | set | frozenset
    )


def _may_have_members(kind: Any) -> bool:
    plain = get_origin(kind) or kind
    is_known = isinstance(plain, type)
    return not is_known or issubclass(plain, Mapping) or plain is object


def group_problems(values: Mapping[str, Any]) -> Problems:
    """What is wrong with the limits of a group, by field."""
    found: Problems = {}
    for name, (low, high) in GROUP_LIMITS.items():
        value = values.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            found[name] = [_("must be a whole number")]
        elif not low <= value <= high:
            facts = {"value": value, "low": low, "high": high}
            found[name] = [_("%(value)s is not between %(low)s and %(high)s") % facts]
    if values.get("rate_count") is not None and values.get("rate_seconds") is None:
        found.setdefault("rate_seconds", []).append(_("is missing: starts in how many seconds?"))
    if values.get("rate_seconds") is not None and values.get("rate_count") is None:
        found.setdefault("rate_count", []).append(_("is missing: how many starts?"))
    if all(values.get(name) is None for name in GROUP_LIMITS):
        text = _("must not be empty when the other limits are: the group would limit nothing")
        found.setdefault("max_running", []).append(text)
    return found
