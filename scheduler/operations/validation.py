"""What makes a job usable: every rule in one place, for the admin, the API, commands and rows typed
by SQL.

Pure except that it reads the registry of handlers and the queues of Celery: it takes `now` and
writes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from django.db import models
from django.utils.translation import gettext as _

from handlers import HandlerNotFoundError, InvalidParamsError, get_handler
from handlers.params import has_lone_surrogate, unknown_params
from handlers.validation import validate_params
from scheduler.conf import SchedulerSettings
from scheduler.models import EDITABLE, LIMITS, LISTS, CronJob
from scheduler.operations import limit_rules
from scheduler.operations.celery_app import known_queues, missing_queue
from scheduler.operations.dividing import shards_problem
from scheduler.operations.errors import InvalidJob, Problems
from scheduler.operations.job_alerts import rules_problems
from scheduler.operations.param_words import bad_params, no_handler, shown, unknown_param
from scheduler.operations.upstream_rules import upstreams_problem
from scheduler.schedule import (
    FIRST_INSTANT,
    LAST_INSTANT,
    Schedule,
    ScheduleError,
    check_interval,
    load_zone,
    part_errors,
    schedule_of,
)
from scheduler.schedule.after import is_after
from scheduler.schedule.kinds import passed_instants
from scheduler.schedule.plan import first_slot
from scheduler.states import MisfirePolicy, OverlapPolicy

NAME_LENGTH = 100
DESCRIPTION_LENGTH = 500
PAUSE_REASON_LENGTH = 500
# A list of texts: so many, and each at most this long.
LIST_LENGTH = 50
LIST_TEXT_LENGTH = 100
# Free texts and how long they may be. What is missing here has rules of its own.
_TEXTS: Mapping[str, int] = {
    column.name: column.max_length or 0
    for column in CronJob._meta.concrete_fields
    if isinstance(column, models.CharField)
    and column.name in EDITABLE
    and not column.choices
    and column.name not in ("name", "cron_expression", "handler_name", "queue")
}
# Letters and marks by their category that show nothing: fillers of Korean, Khmer and Mongolian, the
# combining joiner, blank Braille, variation selectors.
_INVISIBLE = frozenset(
    [
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE0F),  # not the next one: it makes colourful emoji
        *range(0xE0100, 0xE01F0),
    ]
)
_MAY_BE_NONE = frozenset(column.name for column in CronJob._meta.concrete_fields if column.null)
# What queue names of Redis, RabbitMQ and the file broker have in common.
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# RabbitMQ's own queues; what Celery keeps in Redis beside its queues, under keys like theirs.
_NO_QUEUES = ("amq.", "unacked", "_kombu")


def job_problems(job: CronJob, *, now: datetime, settings: SchedulerSettings) -> Problems:
    """Everything wrong with a job, by field; empty when it can be saved."""
    problems: Problems = {}

    def check(field: str, rule: Callable[[], str | None]) -> None:
        message = rule()
        if message:
            problems.setdefault(field, []).append(message)

    check("name", lambda: text_problem(job.name, NAME_LENGTH, required=True))
    for name, longest in _TEXTS.items():
        check(name, lambda name=name, longest=longest: text_problem(getattr(job, name), longest))  # type: ignore[misc]
    for name in LISTS:
        if name != "upstreams":
            check(name, lambda name=name: text_list_problem(getattr(job, name)))  # type: ignore[misc]
    check("upstreams", lambda: upstreams_problem(job))
    check("alert_rules", lambda: _alert_rules(job, settings))
    check("queue", lambda: queue_problem(job.queue))
    check("is_enabled", lambda: _truth(job.is_enabled))
    for moment in ("start_at", "end_at", "paused_until"):
        check(moment, lambda moment=moment: instant_problem(getattr(job, moment)))  # type: ignore[misc]
    check("overlap_policy", lambda: _one_of(job.overlap_policy, OverlapPolicy))
    check("misfire_policy", lambda: _one_of(job.misfire_policy, MisfirePolicy))
    for name, (low, high) in LIMITS.items():
        if name in _MAY_BE_NONE and getattr(job, name) is None:
            continue
        check(name, lambda name=name, low=low, high=high: between(getattr(job, name), low, high))  # type: ignore[misc]
    check("shards", lambda: shards_problem(job.shards, job.handler_name))
    problems = limit_rules.job_problems(job, settings) | problems
    if not problems.keys() & {"retry_backoff_seconds", "retry_backoff_max_seconds"}:
        check("retry_backoff_max_seconds", lambda: _backoff(job))
    problems |= call_problems(job.handler_name, job.handler_params, params_field="handler_params")
    if not problems.keys() & {"timezone", "calendar", "start_at", "end_at", "upstreams"}:
        for field, text in _schedule(job, now, settings):
            problems.setdefault(field, []).append(text)
    return problems


def text_problem(value: object, longest: int, *, required: bool = False) -> str | None:
    """Returns what is wrong with a text that a person typed, or None."""
    if not isinstance(value, str):
        return _("must be text")
    if required and not value.strip():
        return _("must not be empty")
    if len(value) > longest:
        values = {"length": len(value), "most": longest}
        return _("has %(length)s characters, at most %(most)s are allowed") % values
    if any(ord(c) < 32 and c not in "\n\t" for c in value) or (required and "\n" in value):
        return _("must not contain control characters")
    if has_lone_surrogate(value):
        return _("must not contain half of a surrogate pair")
    return None


def new_name_problem(name: object) -> str | None:
    """What keeps a text from becoming a job's name.

    A name is read and typed by people: two names that look the same must be the same. A job that
    has such a name already goes on running and may be edited: only a new name is checked here.
    """
    if not isinstance(name, str) or not name.strip():
        return None  # text_problem says so
    for place, character in enumerate(name, 1):
        if _is_unseen(character):
            facts = {"character": _named(character), "place": place}
            text = _(
                "must not contain control characters or invisible ones: %(character)s "
                "at character %(place)s"
            )
            return text % facts
    ends = [name[0], name[-1]]
    if blank := next((character for character in ends if character.isspace()), None):
        text = _("must not begin or end with a blank (%(character)s)")
        return text % {"character": _named(blank)}
    return None


def _is_unseen(character: str) -> bool:
    """Control, bidi and invisible characters, and the line separators."""
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Zl", "Zp") or ord(character) in _INVISIBLE


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def check_instants(**given: object) -> None:
    """Raises InvalidJob with what is wrong with each instant."""
    problems = {name: instant_problem(value) for name, value in given.items()}
    found = {name: [problem] for name, problem in problems.items() if problem}
    if found:
        raise InvalidJob(found)


def check_pause(given: Mapping[str, object]) -> None:
    """Raises InvalidJob for a reason or an end that no pause can have."""
    check_instants(paused_until=given.get("paused_until"))
    problem = text_problem(given.get("pause_reason", ""), PAUSE_REASON_LENGTH)
    if problem:
        raise InvalidJob({"pause_reason": [problem]})


def pause_end_problem(until: datetime | None, now: datetime) -> str | None:
    """What is wrong with the end of a pause; None is no end and fine."""
    if problem := instant_problem(until):
        return problem
    if until is not None and until <= now:
        return _("must be in the future")
    return None


def check_params(handler_name: object, params: object) -> None:
    """Raises InvalidJob for `handler_name` or `params` when no such run can be made."""
    problems = call_problems(handler_name, params, params_field="params")
    if problems:
        raise InvalidJob(problems)


def call_problems(handler_name: object, params: object, *, params_field: str) -> Problems:
    """Returns why the handler cannot be called with these params. Empty: it can."""
    if not isinstance(handler_name, str) or not handler_name:
        return {"handler_name": [_("must not be empty")]}
    is_object = isinstance(params, Mapping)
    try:
        validate_params(handler_name, params if is_object else {})
    except HandlerNotFoundError as error:
        return {"handler_name": [no_handler(error)]}
    except InvalidParamsError as error:
        if is_object:
            return {params_field: [bad_params(error)]}
    return {} if is_object else {params_field: [_("must be a JSON object")]}


def param_warnings(handler_name: str, params: object) -> list[str]:
    """Returns what is odd about params that the handler accepts: names that it does not know."""
    if not isinstance(params, Mapping):
        return []
    try:
        handler = get_handler(handler_name)
    except HandlerNotFoundError:
        return []  # a problem, not a warning
    return [unknown_param(each) for each in unknown_params(handler.params_model, params)]


def text_list_problem(value: object) -> str | None:
    if not isinstance(value, list):
        return _("must be a list of texts")
    if len(value) > LIST_LENGTH:
        return _("has %(count)s texts, at most %(most)s are allowed") % {
            "count": len(value), "most": LIST_LENGTH,
        }  # fmt: skip
    for text in value:
        problem = text_problem(text, LIST_TEXT_LENGTH, required=True)
        if problem is None and ("," in text or text != text.strip()):
            problem = _("must not hold commas, nor begin or end with blanks")
        if problem is not None:
            return f"{text!r}: {problem}"
    return None


def _alert_rules(job: CronJob, settings: SchedulerSettings) -> str | None:
    found = rules_problems(job, settings.alerts)
    if isinstance(found, InvalidParamsError):
        return "; ".join(shown(found))
    return "; ".join(found) or None


def _truth(value: object) -> str | None:
    # SQL's 0 and 1 are read as such from some databases.
    return None if value in (True, False) else _("must be true or false")


def instant_problem(value: object) -> str | None:
    """What is wrong with an instant that a person gave; None is no instant and fine."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        return _("must be an instant")
    if value.tzinfo is None:
        return _("must say its time zone")
    if not FIRST_INSTANT <= value <= LAST_INSTANT:
        years = {"first": FIRST_INSTANT.year, "last": LAST_INSTANT.year}
        return _("is not between %(first)s and %(last)s") % years
    return None


def queue_problem(value: object) -> str | None:
    """What is wrong with the name of a queue; "" is the default queue."""
    if isinstance(value, str) and value.startswith(_NO_QUEUES):
        starts = ", ".join(f"“{start}”" for start in _NO_QUEUES)
        return _("must not begin with %(starts)s: the broker keeps such names for itself") % {
            "starts": starts
        }
    if isinstance(value, str) and (value == "" or _QUEUE.fullmatch(value)):
        if (missing := missing_queue(value)) is None:
            return None
        facts = {"queue": missing, "known": ", ".join(known_queues())}
        return _("%(queue)s is not among the queues of the Celery app: %(known)s") % facts
    return _("may contain letters, digits, “_”, “.” and “-”, and at most 100 of them")


def _one_of(value: object, known: type[OverlapPolicy] | type[MisfirePolicy]) -> str | None:
    names = [item.value for item in known]
    return None if value in names else unknown_word(value, names)


def between(value: object, low: int, high: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return _("must be a whole number")
    if low <= value <= high:
        return None
    values = {"value": value, "low": low, "high": high}
    return _("%(value)s is not between %(low)s and %(high)s") % values


def unknown_word(value: object, known: Iterable[str]) -> str:
    values = {"value": repr(value), "known": ", ".join(known)}
    return _("%(value)s is unknown, one of %(known)s") % values


def _backoff(job: CronJob) -> str | None:
    if job.retry_backoff_max_seconds < job.retry_backoff_seconds:
        text = _("must not be less than the first back-off (%(seconds)s s)")
        return text % {"seconds": job.retry_backoff_seconds}
    return None


def _schedule(job: CronJob, now: datetime, settings: SchedulerSettings) -> list[tuple[str, str]]:
    found = []
    if job.start_at and job.end_at and job.start_at >= job.end_at:
        found.append(("end_at", _("must be after the start")))
    try:
        schedule = schedule_of(job, settings)
        check_interval(schedule, settings.min_cron_interval_seconds, now)
    except ScheduleError as error:
        parts = [(each.field, each.reason) for each in part_errors(job, settings)]
        found += parts or [(error.field, error.reason)]
    if found:
        return found
    if first_slot(schedule, now, start_at=job.start_at, end_at=job.end_at) is None:
        if job.end_at and job.end_at <= now:
            return [("end_at", _("is in the past: this job would never run"))]
        if is_after(job.cron_expression):
            return [("upstreams", _("have no slot in common: this job would never run"))]
        return [("cron_expression", _no_slot(schedule, now, job))]
    return []


def _no_slot(schedule: Schedule, now: datetime, job: CronJob) -> str:
    last = schedule.last_until(now)
    if last is not None and schedule.next_after(now) is None:
        text = _("the last run would have been at %(last)s, which has passed; write a later time")
        return text % {"last": last.strftime("%Y-%m-%d %H:%M:%S UTC")}
    return _("has no slot between start and end: this job would never run")


def passed_problem(job: CronJob, *, now: datetime, settings: SchedulerSettings) -> str | None:
    """What is wrong with a schedule that is new: one of its `at` instants has passed.

    Later the job keeps it: the instants of a list pass one after the other.
    """
    try:
        zone = load_zone(job.timezone or settings.default_timezone)
        found = passed_instants(job.cron_expression, zone, now)
    except (ScheduleError, TypeError, AttributeError):
        return None  # job_problems says so
    if not found:
        return None
    facts = {"at": found[0].strftime("%Y-%m-%d %H:%M:%S UTC"), "now": now.strftime("%H:%M:%S")}
    text = _(
        "%(at)s has passed (it is %(now)s UTC now); write a later time, or run the job by hand"
    )
    return text % facts
