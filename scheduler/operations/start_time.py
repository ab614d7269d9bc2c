"""When the run of an event may start: at once, at an instant, or some seconds after its arrival."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from scheduler.operations.errors import InvalidJob
from scheduler.operations.validation import instant_problem


@dataclass(frozen=True, kw_only=True)
class StartTime:
    """What the sender asked for. At most one of the two is given."""

    at: datetime | None = None
    after_seconds: float | None = None

    def check(self) -> None:
        """Raises InvalidJob for what no run can have, whatever the present instant is."""
        if self.at is not None and self.after_seconds is not None:
            raise InvalidJob({"after_seconds": [_("contradicts “at”; send one of the two")]})
        problem = instant_problem(self.at)
        if problem:
            raise InvalidJob({"at": [problem]})
        if self.after_seconds is not None:
            self._check_seconds(self.after_seconds)

    def _check_seconds(self, seconds: object) -> None:
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not math.isfinite(seconds):  # type: ignore[arg-type]
            raise InvalidJob({"after_seconds": [_("must be a number of seconds")]})
        if seconds < 0:  # type: ignore[operator]
            raise InvalidJob({"after_seconds": [_("must not be negative")]})

    def available_at(self, now: datetime) -> datetime | None:
        """Returns the earliest instant of the run; None: at once. Raises InvalidJob.

        Refuses an instant that is over, and one that no column of instants takes.
        """
        if self.at is not None:
            if self.at < now:
                raise InvalidJob({"at": [_("is in the past")]})
            return self.at
        if self.after_seconds is None:
            return None
        try:
            found = now + timedelta(seconds=self.after_seconds)
        except OverflowError:
            found = datetime.max.replace(tzinfo=UTC)
        problem = instant_problem(found)
        if problem:
            raise InvalidJob({"after_seconds": [problem]})
        return found

    def as_text(self) -> str:
        """Returns one text for one wish: zones, and 5 or 5.0 seconds, make no difference."""
        if self.at is not None:
            return f"at {self.at.astimezone(UTC).isoformat()}"
        return "" if self.after_seconds is None else f"after {float(self.after_seconds)!r}"


AT_ONCE: Final = StartTime()
