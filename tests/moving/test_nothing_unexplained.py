"""Whatever is compared: each difference has a cause, and what a dry run calls the same has none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.moving.beside import compare_entries
from scheduler.moving.celery_schedules import CeleryEntry, found_in
from scheduler.moving.comparing import Cause
from scheduler.moving.cron_fields import Dialect, read_rule
from scheduler.moving.entries import Entry, Verdict
from scheduler.moving.mapping import map_entries
from scheduler.moving.mapping_rules import columns_of_rule
from scheduler.moving.walking import Walker
from scheduler.operations.imports import ImportControl
from tests.moving.conftest import NOW, options

pytestmark = pytest.mark.django_db

ZONES = st.sampled_from(
    ["America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Seoul", "Africa/Cairo"]
)
MINUTES = st.sampled_from(["0", "30", "*/15", "5,35", "*/7", "1-59/2", "*"])
HOURS = st.sampled_from(["0", "1", "2", "3", "0-4", "*", "*/2", "*/5", "23", "1,2,23"])
DOMS = st.sampled_from(["*", "*", "1", "1,15", "*/2", "13", "1-7", "31", "8-14"])
MONTHS = st.sampled_from(["*", "*", "3,4,9-11", "*/2"])
DOWS = st.sampled_from(["*", "*", "0", "1-5", "sun", "5", "*/2", "fri,sat"])
CELERY = st.tuples(MINUTES, HOURS, DOWS, DOMS, MONTHS)
QUICK = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def check(control: ImportControl, entry: Entry) -> None:
    (mapped,) = map_entries("test", [entry], control=control, now=NOW)
    (compared,) = compare_entries([mapped], control, now=NOW, days=60)
    assert Cause.UNEXPLAINED not in compared.causes, compared
    if mapped.verdict is Verdict.SAME:
        assert not compared.causes, (mapped, compared)
    if set(compared.causes) == {Cause.CLOCK_CHANGE}:
        assert mapped.verdict is not Verdict.SAME


@given(fields=CELERY, zone=ZONES)
@QUICK
def test_of_celerys_crontabs(control: ImportControl, fields: tuple[Any, ...], zone: str):
    schedule = crontab(*fields)
    schedule.tz = ZoneInfo(zone)
    entry = CeleryEntry(task="shop.gone", schedule=schedule, zone=zone)
    found = found_in(entry, options(), has_priorities=False)
    values = {**found.values, "handler_name": "sample", "handler_params": {}}
    findings = [each for each in found.findings if each.reason.value != "refused"]
    check(
        control,
        Entry(
            key="x", name="x", values=values, findings=findings, old=found.old, rule=found.rule,
            nearest=found.nearest,
        ),
    )  # fmt: skip


@given(fields=CELERY, zone=ZONES, dialect=st.sampled_from(Dialect))
@QUICK
def test_of_the_dialects_of_cron(
    control: ImportControl, fields: tuple[str, ...], zone: str, dialect: Dialect
):
    minute, hour, dow, dom, month = fields
    rule = read_rule(f"{minute} {hour} {dom} {month} {dow}", zone, dialect)
    columns, findings, nearest = columns_of_rule(rule)
    likes = minute.startswith("*") or hour.startswith("*")
    values = {**columns, "handler_name": "sample"}
    old = Walker(rule=rule, dialect=dialect, interval_like=likes)
    check(
        control,
        Entry(key="x", name="x", values=values, findings=findings, old=old, rule=rule,
              nearest=nearest),
    )  # fmt: skip


@given(hour=st.integers(0, 23), dow=st.sampled_from(["*", "0-4", "sun", "6"]), zone=ZONES)
@QUICK
def test_of_apschedulers_triggers(control: ImportControl, hour: int, dow: str, zone: str):
    from apscheduler.triggers.cron import CronTrigger

    from scheduler.moving.aps_fields import rule_of_trigger
    from scheduler.moving.sources.apscheduler import TriggerWalker

    trigger = CronTrigger(hour=hour, minute="*/20", day_of_week=dow, timezone=zone)
    rule = rule_of_trigger(trigger)
    columns, findings, _nearest = columns_of_rule(rule)
    values = {**columns, "handler_name": "sample"}
    old = TriggerWalker(trigger=trigger, zone=zone)
    assert old.slots(NOW, NOW + timedelta(days=30), 9)
    check(control, Entry(key="x", name="x", values=values, findings=findings, old=old, rule=rule))
