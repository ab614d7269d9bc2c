"""Which entries the page shows: what the address says, and the form that asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date
from django.utils.timezone import make_aware
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from scheduler.admin.page_filters import Filter, filter_of, given, typed
from scheduler.admin.saved_filters import LISTS
from scheduler.labels import label
from scheduler.models import Activity, bounded_id
from scheduler.operations.permissions import SEES_HISTORY_OF, may
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import ActivityVerb, Door, TargetKind
from scheduler.store import activity


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """`is_indexed`: an index finds the rows, so that a part need not be bounded.

    `problems`: what of the address was not understood, and left out.
    """

    rows: QuerySet[Activity]
    query: dict[str, str]
    before: int | None
    is_indexed: bool
    problems: list[str]


def kinds_for(person: Any) -> list[TargetKind]:
    return [kind for kind, action in SEES_HISTORY_OF.items() if may(person, action)]


def chosen(request: HttpRequest) -> Chosen:
    query = given(request, LISTS["activity"].names)
    problems: list[str] = []
    rows = activity.newest().filter(
        target_kind__in=[kind.value for kind in kinds_for(request.user)]
    )
    for name, column in (("kind", "target_kind"), ("verb", "verb"), ("door", "door")):
        if value := query.get(name):
            rows = rows.filter(**{column: value})
    if who := query.get("who"):
        rows = rows.filter(actor__icontains=who)
    if text := query.get("q"):
        rows = rows.filter(_about(text))
    row_id = _number(query.get("id", ""))
    if row_id is not None:
        rows = rows.filter(target_id=row_id)
    since, until = _day(query, "since", problems), _day(query, "until", problems)
    if since:
        rows = rows.filter(at__gte=since)
    if until:
        rows = rows.filter(at__lt=until + timedelta(days=1))
    return Chosen(
        rows=rows,
        query=query,
        before=_number(request.GET.get("before", "")),
        is_indexed=row_id is not None and "kind" in query,
        problems=problems,
    )


def _about(text: str) -> Q:
    found = Q(target_name__icontains=text)
    number = _number(text.removeprefix("#"))
    return found if number is None else found | Q(target_id=number)


def _number(text: str) -> int | None:
    return bounded_id(text) if text.isascii() and text.isdigit() else None


def _day(query: dict[str, str], name: str, problems: list[str]) -> datetime | None:
    """Returns the first instant of a day, in the time zone of the reader."""
    text = query.get(name)
    if text is None:
        return None
    try:
        day = parse_date(text)
        first = make_aware(datetime.combine(day, time.min)) if day is not None else None
        if first is not None and FIRST_INSTANT <= first <= LAST_INSTANT:
            return first
    except (ValueError, OverflowError):
        pass
    wrong = _("%s is not a date such as 2026-01-31; it was ignored")
    problems.append(wrong % query.pop(name)[:50])
    return None


def filters(query: dict[str, str], person: Any) -> list[Filter]:
    kinds = [(kind.value, label(kind)) for kind in kinds_for(person)]
    verbs = sorted(((verb.value, label(verb)) for verb in ActivityVerb), key=lambda each: each[1])
    doors = [(door.value, label(door)) for door in Door]
    return [
        filter_of("kind", _("about"), kinds, query),
        filter_of("verb", _("what"), verbs, query),
        filter_of("door", _("through"), doors, query),
        typed("who", _("who"), query),
        typed("q", _("name or number"), query),
        typed("since", pgettext("time", "from"), query, "date"),
        typed("until", pgettext("time", "to"), query, "date"),
    ]
