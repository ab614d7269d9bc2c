"""What a message says, in the language and the time zone of its reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final

from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from scheduler.alert_states import AlertEnd, AlertEvent, AlertKind
from scheduler.alerts.channels.base import Rendered
from scheduler.alerts.recipients import Reader
from scheduler.conf import current
from scheduler.models import Alert

_MOST_LINES: Final = 50
_LONGEST_ERROR: Final = 500

_HEADLINES: Final[Mapping[AlertKind, str]] = {
    AlertKind.FAILED: gettext_noop("%(job)s has failed"),
    AlertKind.FAILED_IN_A_ROW: gettext_noop("%(job)s has failed %(runs)s times in a row"),
    AlertKind.NOT_STARTED: gettext_noop("%(job)s has not started, %(seconds)s after its time"),
    AlertKind.TOO_LONG: gettext_noop("%(job)s has been running for %(seconds)s"),
    AlertKind.SWITCHED_OFF: gettext_noop("%(job)s was switched off by an error"),
    AlertKind.MISSED: gettext_noop("%(job)s has missed runs"),
    AlertKind.SKIPPED: gettext_noop("a run of %(job)s was skipped"),
    AlertKind.AWAITS_APPROVAL: gettext_noop("a run of %(job)s waits for an approval"),
    AlertKind.NO_BEAT: gettext_noop("no beat is working: no job starts by its schedule"),
    AlertKind.NO_WORKER: gettext_noop("no worker serves queue %(queue)s, in which runs wait"),
    AlertKind.CLAIMING_STANDS: gettext_noop("the workers do not take the runs of queue %(queue)s"),
    AlertKind.PUBLISHING_STANDS: gettext_noop("the broker takes no messages"),
    AlertKind.CLOCK: gettext_noop("the clock of the database is not right"),
    AlertKind.RETENTION_BEHIND: gettext_noop("old executions are not deleted"),
    AlertKind.DISK: gettext_noop("the disk of the database is nearly full"),
    AlertKind.DATABASE: gettext_noop("the database does not answer"),
    AlertKind.SWITCH_STANDS: gettext_noop(
        "the switch of %(job)s has not ended: it may be off here and in its old system"
    ),
}
_WHAT_TO_DO: Final[Mapping[AlertKind, str]] = {
    AlertKind.FAILED: gettext_noop(
        "Read the error and the log of the run. Retry it when the cause is gone."
    ),
    AlertKind.FAILED_IN_A_ROW: gettext_noop(
        "Read the error and the log of the last run. Pause the job if further runs do harm."
    ),
    AlertKind.NOT_STARTED: gettext_noop(
        "Look whether workers serve the queue of the job, and whether another run of it goes on."
    ),
    AlertKind.TOO_LONG: gettext_noop(
        "Read the log of the run to see what it waits for. Cancel it if it hangs."
    ),
    AlertKind.SWITCHED_OFF: gettext_noop("Correct the schedule of the job and enable it."),
    AlertKind.MISSED: gettext_noop("Look at what was not run, and backfill it if it is needed."),
    AlertKind.SKIPPED: gettext_noop("Look at the reason of the skipped run."),
    AlertKind.AWAITS_APPROVAL: gettext_noop(
        "Open the page of the run, look at its parameters, and approve or reject it there."
    ),
    AlertKind.NO_BEAT: gettext_noop("Start beat, and read its log to see why it has ended."),
    AlertKind.NO_WORKER: gettext_noop(
        "Start a worker for this queue, or move its jobs to another queue."
    ),
    AlertKind.CLAIMING_STANDS: gettext_noop(
        "Look at the workers: they may be full, or not reach the database."
    ),
    AlertKind.PUBLISHING_STANDS: gettext_noop(
        "Look at the broker. Until it is back, runs start up to a second later."
    ),
    AlertKind.CLOCK: gettext_noop(
        "Set the clock of the database's host, and let it follow a time server."
    ),
    AlertKind.RETENTION_BEHIND: gettext_noop(
        "Look at the log of beat, and at the load of the database."
    ),
    AlertKind.DISK: gettext_noop("Make room on the disk: a full one stops all jobs."),
    AlertKind.DATABASE: gettext_noop("Look at the database server, and at the way to it."),
    AlertKind.SWITCH_STANDS: gettext_noop(
        "Let the switch go on (“jobs switch --resume”, or the page of the job), or switch it back."
    ),
}


def of_alert(alert: Alert, event: AlertEvent, reader: Reader, *, key: str) -> Rendered:
    """The message about one alert."""
    with _language_of(reader):
        return Rendered(
            key=key,
            subject=f"[jobu] {headline(alert, event)}",
            text="\n".join(_lines(alert, event, reader)) + "\n",
            address=reader.address,
            facts=_facts(alert, event),
        )


def of_digest(told: Sequence[tuple[Alert, AlertEvent]], reader: Reader, *, key: str) -> Rendered:
    """One message about many alerts."""
    count = len(told)
    with _language_of(reader):
        title = ngettext("%(count)s alert", "%(count)s alerts", count) % {"count": count}
        lines = [title, ""]
        for alert, event in told[:_MOST_LINES]:
            at = _instant(alert.closed_at or alert.opened_at, reader)
            lines.append(f"- {at}: {headline(alert, event)}")
            lines += [f"  {link}"] if (link := link_of(alert)) else []
        if count > _MOST_LINES:
            lines.append(_("and %(count)s more") % {"count": count - _MOST_LINES})
        return Rendered(
            key=key,
            subject=f"[jobu] {title}",
            text="\n".join(lines) + "\n",
            address=reader.address,
            facts={
                "event": AlertEvent.DIGEST.value,
                "count": count,
                "alerts": [_facts(alert, event) for alert, event in told[:_MOST_LINES]],
                "link": _page("alert/"),
            },
        )


def of_test(channel: str, reader: Reader, *, key: str) -> Rendered:
    """The message with which a person tries a channel."""
    with _language_of(reader):
        text = _("This is a test of the channel %(channel)s. It works: you read this.")
        return Rendered(
            key=key,
            subject="[jobu] " + _("test of the channel %(channel)s") % {"channel": channel},
            text=text % {"channel": channel} + "\n",
            address=reader.address,
            facts={"event": AlertEvent.TEST.value, "channel": channel},
        )


def headline(alert: Alert, event: AlertEvent) -> str:
    """What has happened, in one line of the active language."""
    what = _(_HEADLINES[AlertKind(alert.kind)]) % _values(alert)
    if event == AlertEvent.CLOSED:
        if alert.close_reason == AlertEnd.RECOVERED:
            return _("%(job)s has recovered") % {"job": _subject(alert)}
        return _("over: %(what)s") % {"what": what}
    return _("still: %(what)s") % {"what": what} if event == AlertEvent.REMINDED else what


def link_of(alert: Alert) -> str:
    """The page of the run, else of the alert. Empty where the settings have no `link_base`."""
    run = alert.last_execution_id or alert.execution_id
    return _page(f"jobexecution/{run}/change/" if run else f"alert/{alert.pk}/change/")


def _page(path: str) -> str:
    return current().alerts.page_url(path)


def _lines(alert: Alert, event: AlertEvent, reader: Reader) -> list[str]:
    lines = [headline(alert, event), ""]
    lines.append(_("Since: %(at)s") % {"at": _instant(alert.opened_at, reader)})
    if event == AlertEvent.CLOSED and alert.closed_at is not None:
        lines.append(_("Until: %(at)s") % {"at": _instant(alert.closed_at, reader)})
        lines.append(_("It has lasted %(span)s.") % {"span": _lasted(alert)})
    if alert.count > 1:
        lines.append(_("How often: %(count)s") % {"count": alert.count})
    if error := _error(alert):
        lines.append(_("Error: %(error)s") % {"error": error})
    if reason := alert.facts.get("reason_code"):
        lines.append(_("Reason: %(reason)s") % {"reason": reason})
    if alert.queue:
        lines.append(_("Queue: %(queue)s") % {"queue": alert.queue})
    if alert.owner:
        lines.append(_("Owner: %(owner)s") % {"owner": alert.owner})
    if link := link_of(alert):
        lines.append(_("See: %(link)s") % {"link": link})
    if event != AlertEvent.CLOSED:
        lines += ["", _(_WHAT_TO_DO[AlertKind(alert.kind)])]
    return lines


def _subject(alert: Alert) -> str:
    named = alert.facts.get("job")  # of an alert that is not about the runs of a job
    return alert.job_name or str(named or "") or alert.queue or alert.subject_key


def _values(alert: Alert) -> dict[str, str]:
    seconds, runs = alert.facts.get("seconds"), alert.facts.get("runs")
    return {
        "job": _subject(alert),
        "queue": alert.queue or _("(default)"),
        "runs": str(runs or alert.count),
        "seconds": span(seconds) if isinstance(seconds, int | float) else "?",
    }


def _error(alert: Alert) -> str:
    """The first line. Its secrets were replaced when the alert was stored."""
    error = alert.facts.get("error")
    lines = error.strip().splitlines() if isinstance(error, str) else []
    return lines[0][:_LONGEST_ERROR] if lines else ""


def _lasted(alert: Alert) -> str:
    assert alert.closed_at is not None
    return span((alert.closed_at - alert.opened_at).total_seconds())


def span(seconds: float) -> str:
    """A length of time in the active language, in its two largest units."""
    whole = max(0, round(seconds))
    days, hours = whole // 86_400, whole // 3_600 % 24
    minutes, rest = whole // 60 % 60, whole % 60
    if days:
        return _("%(days)s d %(hours)s h") % {"days": days, "hours": hours}
    if hours:
        return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
    if minutes:
        return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
    return _("%(seconds)s s") % {"seconds": rest}


def _instant(at: datetime, reader: Reader) -> str:
    return at.astimezone(reader.zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _facts(alert: Alert, event: AlertEvent) -> dict[str, Any]:
    return {
        "event": event.value,
        "alert": alert.pk,
        "kind": alert.kind,
        "state": alert.state,
        "job": alert.job_name or None,
        "job_id": alert.job_id,
        "execution": alert.last_execution_id or alert.execution_id,
        "queue": alert.queue,
        "owner": alert.owner,
        "count": alert.count,
        "opened_at": alert.opened_at.isoformat(),
        "closed_at": alert.closed_at.isoformat() if alert.closed_at else None,
        "close_reason": alert.close_reason or None,
        "error": _error(alert) or None,
        "link": link_of(alert) or None,
    }


def _language_of(reader: Reader) -> AbstractContextManager[None]:
    override: Callable[[str], Any] = translation.override
    return override(reader.language)  # type: ignore[no-any-return]
