"""The texts of the reasons, in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.moving.comparing import Cause
from scheduler.moving.entries import Finding, Reason

# A function each, so that the catalogue knows every text and none is translated at import.
_TEXTS: Final[Mapping[Reason, Callable[[], str]]] = {
    Reason.ARGUMENTS: lambda: _("the arguments do not fit the task: %(problem)s"),
    Reason.CLOCK_CHANGE: lambda: _(
        "when clocks change in %(zone)s: there %(old)s, here %(new)s (UTC)"
    ),
    Reason.COMMAND: lambda: _("the entry has no command that could be run"),
    Reason.CONTAINER: lambda: _(
        "%(what)s of the container is not kept: the command runs on a worker's machine"
    ),
    Reason.COUNTS: lambda: _("its distance counts from %(start)s, as there"),
    Reason.DAY_AND_WEEKDAY: lambda: _(
        "both the day of month and the weekday must match there, and no schedule here says that;"
        " nearest: a handler that looks at the day"
    ),
    Reason.DUPLICATE: lambda: _("the name stands twice in the source, first at %(first)s"),
    Reason.EXPIRES: lambda: _("a run that waits for longer than %(limit)s is not dropped here"),
    Reason.NOT_THERE: lambda: _(
        "the schedule is invalid there: %(system)s knows no %(item)s, so the entry never runs; "
        "here it would be valid"
    ),
    Reason.EXPRESSION: lambda: _("the schedule cannot be read: %(problem)s"),
    Reason.HEADERS: lambda: _(
        "its message options are not sent: %(names)s; give the task what it needs as parameters"
    ),
    Reason.INSTANCES: lambda: _("%(count)s runs may overlap there; here any number may"),
    Reason.INTERVAL: lambda: _(
        "a distance of %(seconds)s s is no whole number of seconds; nearest: %(nearest)s"
    ),
    Reason.INTERVAL_END: lambda: _(
        "a run starts at the end of its data interval, as there: the same instants"
    ),
    Reason.MAIL: lambda: _("the output is not mailed to %(address)s: the log of the run keeps it"),
    Reason.NAME: lambda: _("the name is changed to %(name)s, because %(problem)s"),
    Reason.NAME_TAKEN: lambda: _(
        "another job has the name %(name)s, and this import has not made it; rename that one first"
    ),
    Reason.NO_HANDLER: lambda: _(
        "no handler for %(name)s; nearest: write it as a task or a handler, then"
        " --handler %(name)s=HANDLER"
    ),
    Reason.OFF: lambda: _("it is off in the old system, too"),
    Reason.ONCE: lambda: _(
        "it runs once, at an instant that nobody knows yet; nearest: run a job by hand"
    ),
    Reason.OVER: lambda: _("its end is over: %(end)s"),
    Reason.PASSED: lambda: _("its only or last instant has passed: %(at)s"),
    Reason.PHASE: lambda: _(
        "the source does not say what its distance counts from; here it is %(expression)s, counted"
        " from the import: the times of the two sides may be shifted"
    ),
    Reason.PICKLE: lambda: _(
        "the store holds pickles, which run code when they are read; nearest: the scheduler in the"
        " code, apscheduler:MODULE:NAME"
    ),
    Reason.PRIORITY: lambda: _("priority %(old)s there becomes %(new)s: 0 to 9 here, 9 first"),
    Reason.RANDOM_DELAY: lambda: _(
        "there each run is up to %(minutes)s minutes late by chance (RANDOM_DELAY); nearest: the"
        " jitter of the job"
    ),
    Reason.REBOOT: lambda: _("@reboot names no time; nearest: a unit of systemd"),
    Reason.REFUSED: lambda: _("such a job is refused: %(problem)s"),
    Reason.RETRIES: lambda: _("%(old)s retries there, %(new)s here"),
    Reason.TASK_RETRIES: lambda: _(
        "the task asks for its retries itself there, up to %(old)s; here any failed run is tried"
        " again, up to %(new)s times"
    ),
    Reason.ROUTING: lambda: _(
        "its message goes through %(names)s there; set “queue” to the queue that this leads to"
    ),
    Reason.RULE: lambda: _(
        "no schedule here has the times of the rule %(rule)s; nearest: a handler that looks at the"
        " day"
    ),
    Reason.SHIFTED: lambda: _("its next runs there are not those of %(expression)s here"),
    Reason.SOLAR: lambda: _(
        "it follows the sun (%(event)s); nearest: a frequent job whose handler looks at the sun"
    ),
    Reason.START: lambda: _(
        "there it also runs once at its start, %(start)s, whatever its schedule says"
    ),
    Reason.TIMEOUT: lambda: _("a run ends after %(new)s s here, after %(old)s s there"),
    Reason.TOO_LONG: lambda: _(
        "the expression has %(length)s characters, at most %(most)s are kept; nearest: two jobs"
    ),
    Reason.TEMPLATE: lambda: _(
        "it is a template that nobody has filled in: %(text)s; give the output of “helm template”"
    ),
    Reason.UNKNOWN_KEY: lambda: _("unknown key %(key)s"),
    Reason.UNREADABLE: lambda: _("the entry cannot be read: %(problem)s"),
    Reason.USER: lambda: _("it runs as the user of the worker, not as %(user)s"),
    Reason.WEEK_OR_YEAR: lambda: _(
        "no expression has a field for %(field)s; nearest: a handler that looks at it"
    ),
    Reason.ZONE: lambda: _("the source names no time zone: %(zone)s is assumed (--timezone)"),
}
_CAUSES: Final[Mapping[Cause, Callable[[], str]]] = {
    Cause.CALENDAR: lambda: _("the job has a calendar"),
    Cause.CLOCK_CHANGE: lambda: _("clock change"),
    Cause.DAY_AND_WEEKDAY: lambda: _(
        "day and weekday: one is enough on one side, both on the other"
    ),
    Cause.DAYS: lambda: _("other days"),
    Cause.AT_START: lambda: _("the extra run at the start"),
    Cause.END: lambda: _("start or end"),
    Cause.INTERVAL: lambda: _("another distance"),
    Cause.KIND: lambda: _("a schedule of another kind"),
    Cause.PHASE: lambda: _("phase: the distance counts from another instant"),
    Cause.TIMES: lambda: _("other times of the day"),
    Cause.UNEXPLAINED: lambda: _(
        "unexplained: this is a fault of the comparison, please report it"
    ),
    Cause.WEEKDAY_NUMBER: lambda: _("weekday numbers count from another day"),
    Cause.ZONE: lambda: _("time zone"),
}


def in_words(finding: Finding) -> str:
    return _TEXTS[finding.reason]() % dict(finding.facts)


def cause_in_words(cause: Cause) -> str:
    return _CAUSES[cause]()


def facts_of(finding: Finding) -> dict[str, Any]:
    """Returns the finding for `--json`."""
    return {
        "reason": finding.reason.value,
        "level": finding.level.value,
        "facts": dict(finding.facts),
        "text": in_words(finding),
    }
