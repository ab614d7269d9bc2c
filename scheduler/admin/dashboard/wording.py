"""Formats of counts, durations and hours on the front page."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.timezone import localtime

from scheduler.admin import formatting
from scheduler.store.statistics import Capped


def number(value: int) -> str:
    return number_format(value, force_grouping=True)


def count(value: Capped) -> str:
    return number(value.value) + ("+" if value.is_capped else "")


def seconds(value: float | None) -> tuple[str, str]:
    return ("", formatting.NOTHING) if value is None else (f"{value:.3f}", formatting.span(value))


def hour(start: datetime) -> str:
    return localtime(start).strftime("%m-%d %H:%M")


def past_the_hour(now: datetime) -> timedelta:
    local = localtime(now)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
