"""Quiet hours in the owner's zone, and what comes too fast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.alert_settings import MailChannel, parse_quiet_hours
from scheduler.alerts.holding import DIGEST_AFTER, MOST_AT_ONCE, Hold, Recent, hold, quiet_until

NOW = datetime(2026, 1, 12, 10, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "zone", "now", "end"),
    [
        # over midnight, before and after it
        ("22:00-07:00", "Asia/Seoul", "2026-01-12T13:00:30+00:00", "2026-01-12T22:00:00+00:00"),
        ("22:00-07:00", "Asia/Seoul", "2026-01-12T21:59:59+00:00", "2026-01-12T22:00:00+00:00"),
        ("22:00-07:00", "Asia/Seoul", "2026-01-12T22:00:00+00:00", None),
        ("22:00-07:00", "Asia/Seoul", "2026-01-12T12:59:59+00:00", None),
        ("12:00-13:00", "UTC", "2026-01-12T12:30:00+00:00", "2026-01-12T13:00:00+00:00"),
        # the night in which the clocks go forward: it is an hour shorter
        ("22:00-07:00", "Europe/Berlin", "2026-03-28T21:30:00+00:00", "2026-03-29T05:00:00+00:00"),
        # their end lies in the gap of 02:00 to 03:00: quiet until the jump
        ("22:00-02:30", "Europe/Berlin", "2026-03-28T23:30:00+00:00", "2026-03-29T01:00:00+00:00"),
        # the hour that is shown twice: quiet until its first end, and again in the second pass
        ("22:00-02:30", "Europe/Berlin", "2026-10-25T00:10:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("22:00-02:30", "Europe/Berlin", "2026-10-25T01:10:00+00:00", "2026-10-25T01:30:00+00:00"),
        ("22:00-07:00", "Europe/Berlin", "2026-10-24T21:00:00+00:00", "2026-10-25T06:00:00+00:00"),
        # half an hour of summer time
        ("22:00-07:00", "Australia/Lord_Howe", "2026-04-04T14:00:00+00:00",
         "2026-04-04T20:30:00+00:00"),
    ],
)  # fmt: skip
def test_quiet_hours_end_by_the_clock_on_the_wall(hours: str, zone: str, now: str, end: str | None):
    found = quiet_until(
        datetime.fromisoformat(now).astimezone(UTC), parse_quiet_hours(hours), ZoneInfo(zone)
    )

    assert found == (datetime.fromisoformat(end) if end else None)


@pytest.mark.parametrize("text", ["22:00", "22-07", "25:00-07:00", "07:00-07:00", "22:00 - 07:00"])
def test_quiet_hours_that_are_none_are_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic adds the key
        parse_quiet_hours(text)


def decide(new: int = 1, count: int = 0, last: float | None = None, **limits) -> Hold:
    channel = MailChannel(kind="mail", to=("a@example.com",), **limits)
    last_at = None if last is None else NOW - timedelta(seconds=last)
    recent = Recent(count=count, last_at=last_at)
    return hold(new, now=NOW, recent=recent, limits=channel, quiet_until=None)


def test_a_few_alerts_go_out_one_by_one_and_a_flood_as_one():
    assert decide(MOST_AT_ONCE) == Hold(is_digest=False, not_before=NOW)
    assert decide(MOST_AT_ONCE + 1) == Hold(is_digest=True, not_before=NOW)


def test_more_than_an_hour_may_have_is_collected():
    assert not decide(count=59).is_digest
    assert decide(count=60) == Hold(is_digest=True, not_before=NOW + DIGEST_AFTER)


def test_what_comes_before_the_interval_is_over_waits_for_its_end():
    assert decide(last=20, min_interval_seconds=60) == Hold(
        is_digest=True, not_before=NOW + timedelta(seconds=40)
    )
    assert not decide(last=60, min_interval_seconds=60).is_digest
