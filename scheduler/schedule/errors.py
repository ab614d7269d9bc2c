"""Why a schedule cannot be used.

ScheduleError (ValueError)
+-- CronParseError
+-- CronNeverFiresError
+-- CronIntervalTooShortError
+-- UnknownTimezoneError
"""

from __future__ import annotations

from django.utils.translation import gettext as _


class ScheduleError(ValueError):
    """The schedule cannot be used.

    `field` is the column of the job that is wrong: cron_expression, timezone or calendar. `reason`
    is for the person who typed it, in the active language (beat's is English). It quotes the input
    escaped, so it can be logged and shown as it is.
    """

    field = "cron_expression"

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if field is not None:
            self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class CronParseError(ScheduleError):
    """The expression is not in jobu's dialect."""


class CronNeverFiresError(ScheduleError):
    """The expression is well formed, but no day of any year matches it."""


class CronIntervalTooShortError(ScheduleError):
    """Two slots are closer together than the installation allows."""

    def __init__(self, found_seconds: int, minimum_seconds: int) -> None:
        super().__init__(
            _("two runs can be %(found)s seconds apart; at least %(least)s seconds are required")
            % {"found": found_seconds, "least": minimum_seconds}
        )
        self.args = (found_seconds, minimum_seconds)
        self.found_seconds = found_seconds
        self.minimum_seconds = minimum_seconds


class UnknownTimezoneError(ScheduleError):
    """The zone is not an IANA name that this host knows."""

    field = "timezone"


def quote(text: str) -> str:
    """Returns `text` in quotes, escaped and short: it may hold newlines or terminal codes."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
