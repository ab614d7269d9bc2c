"""Which kinds of failures the page shows: what the address says, and the form that asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin.page_filters import Filter, filter_of, given, job_filters, narrowed, typed
from scheduler.admin.saved_filters import LISTS
from scheduler.models import CronJob
from scheduler.store import failures
from scheduler.store.failures import Wanted

_DAYS: Final = ("1", "7", "30", "90")
_USUAL_DAYS: Final = "7"
_STATES: Final = {"open": True, "seen": False, "all": None}
_USUAL_STATE: Final = "open"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """`days`: those that are shown, oldest first. `query`: what was chosen, for addresses."""

    wanted: Wanted
    days: list[date]
    query: dict[str, str]


def chosen(request: HttpRequest, now: datetime) -> Chosen:
    query = given(request, LISTS["failures"].names)
    state = query.get("state", _USUAL_STATE)
    days = failures.last_days(now, int(_days(query)))
    jobs = None
    if query.keys() & {"job", "tag", "queue"}:
        of_handlers = {name: text for name, text in query.items() if name != "handler"}
        jobs = narrowed(CronJob.objects.all(), of_handlers)
        if name := query.get("job"):
            jobs = jobs.filter(name__icontains=name)
    wanted = Wanted(
        since=days[0],
        is_open=_STATES.get(state, True),
        handler=query.get("handler", ""),
        text=query.get("q", ""),
        jobs=jobs,
    )
    return Chosen(wanted=wanted, days=days, query=query)


def filters(query: dict[str, str]) -> list[Filter]:
    states = [("open", _("open")), ("seen", _("seen")), ("all", _("open and seen"))]
    days = [
        (text, ngettext("%(count)s day", "%(count)s days", int(text)) % {"count": text})
        for text in _DAYS
    ]
    shown = {"state": query.get("state", _USUAL_STATE), "days": _days(query)}
    return [
        filter_of("state", _("state"), states, shown, has_all=False),
        filter_of("days", _("in the last"), days, shown, has_all=False),
        *job_filters(query),
        typed("job", _("job"), query),
        typed("q", _("text of the error"), query),
    ]


def _days(query: dict[str, str]) -> str:
    text = query.get("days", _USUAL_DAYS)
    return text if text in _DAYS else _USUAL_DAYS
