"""What a person may do with an alert: acknowledge, snooze, wake and close it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.alert_states import AlertEnd, AlertState
from scheduler.models import Alert
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.validation import instant_problem
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import alerts
from scheduler.transient import in_transaction

#: Nobody would remember what was snoozed for longer.
LONGEST_SNOOZE: Final = timedelta(days=366)


@dataclass(frozen=True, kw_only=True)
class AlertOperations(Operations):
    """The operations on alerts. Each raises Alert.DoesNotExist; NotPossible for a closed one."""

    def acknowledge(self, alert_id: int) -> Alert:
        """Somebody works on it: it is no longer among those that nobody has seen."""

        def change(alert: Alert, now: datetime) -> dict[str, Any]:
            if alert.state == AlertState.ACKNOWLEDGED:
                raise NotPossible(
                    _("%(by)s has acknowledged it before") % {"by": alert.acknowledged_by}
                )
            alert.state = AlertState.ACKNOWLEDGED.value
            alert.acknowledged_by, alert.acknowledged_at = self.actor.name[:150], now
            _wake(alert)
            return {}

        return self._change(alert_id, ActivityVerb.ACKNOWLEDGED, change)

    def snooze(self, alert_id: int, until: datetime) -> Alert:
        """Nobody is told of it until then, and once more then, if it is still open."""
        if problem := instant_problem(until):
            raise InvalidJob({"until": [problem]})

        def change(alert: Alert, now: datetime) -> dict[str, Any]:
            if until <= now:
                raise InvalidJob({"until": [_("must be in the future")]})
            if until > now + LONGEST_SNOOZE:
                text = _("must be within %(days)s days")
                raise InvalidJob({"until": [text % {"days": LONGEST_SNOOZE.days}]})
            alert.state = AlertState.SNOOZED.value
            alert.snoozed_until, alert.snoozed_by = until, self.actor.name[:150]
            return {"until": until.isoformat()}

        return self._change(alert_id, ActivityVerb.SNOOZED, change)

    def unsnooze(self, alert_id: int) -> Alert:
        """It is open again, before its snooze is over."""

        def change(alert: Alert, now: datetime) -> dict[str, Any]:
            if alert.state != AlertState.SNOOZED:
                raise NotPossible(_("it is not snoozed"))
            alert.state = AlertState.OPEN.value
            _wake(alert)
            return {}

        return self._change(alert_id, ActivityVerb.UNSNOOZED, change)

    def close(self, alert_id: int) -> Alert:
        """It is over, whatever its cause does. What lasts is told again after an hour."""

        def change(alert: Alert, now: datetime) -> dict[str, Any]:
            by = self.actor.name[:150]
            alerts.close_all([alert], AlertEnd.BY_PERSON, by=by, default_at=now)
            return {}

        return self._change(alert_id, ActivityVerb.CLOSED, change)

    def _change(
        self,
        alert_id: int,
        verb: ActivityVerb,
        change: Callable[[Alert, datetime], dict[str, Any]],
    ) -> Alert:
        def work() -> Alert:
            alert = alerts.lock(alert_id)
            if alert.state == AlertState.CLOSED:
                raise NotPossible(_("it is closed"))
            now = self.clock.now()
            facts = change(alert, now)
            if alert.state != AlertState.CLOSED:
                alerts.write(alert, *_WRITTEN)
            name = f"{alert.kind} {alert.job_name or alert.subject_key}"
            self._remember(verb, TargetKind.ALERT, alert.pk, name, now, facts)
            return alert

        return in_transaction(work)


def _wake(alert: Alert) -> None:
    alert.snoozed_until, alert.snoozed_by = None, ""


_WRITTEN: Final = (
    "state", "acknowledged_by", "acknowledged_at", "snoozed_until", "snoozed_by",
)  # fmt: skip
