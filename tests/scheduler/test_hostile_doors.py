"""Limits, freezes and dependencies as a hostile or hasty person types them.

Every value is refused at its field, or accepted; none is an error of the program. Of two people
nobody overwrites the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from scheduler.models import (
    Activity,
    ConcurrencyGroup,
    CronJob,
    JobExecution,
    JobFreeze,
    JobUpstream,
)
from scheduler.operations import history
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.errors import InvalidJob, NotPossible, StaleEdit
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.groups import GroupControl
from scheduler.operations.job_files import Document, JobFiles
from scheduler.operations.waiting_words import in_words
from scheduler.states import Door
from scheduler.store import claims, upstreams
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import SchedulerHarness
from tests.scheduler.test_races import together

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

BOB = Actor(name="bob", door=Door.ADMIN)
HOURLY = {"cron_expression": "0 * * * *", "handler_name": "ok"}
WRONG = [
    0, -1, 10**9, 10**30, "3", "", True, float("nan"), float("inf"), 1.5, [], [1], {}, {"a": 1},
    "\x00", "\ud800", "x" * 2000, [["a"]], [None], [{}], ["\x00"], ["\ud800"], ["x" * 300],
]  # fmt: skip
FIELDS_OF_A_FREEZE = (
    "name", "reason", "since", "until", "hours", "timezone", "tags", "blocked_slots", "is_enabled",
)  # fmt: skip
FIELDS_OF_A_GROUP = (
    "name", "description", "max_running", "max_running_per_key", "rate_count", "rate_seconds",
    "rate_per_key",
)  # fmt: skip
FIELDS_OF_A_JOB = (
    "max_running", "concurrency_group", "concurrency_key", "shards", "upstreams",
    "upstream_seconds", "approval_seconds", "tags",
)  # fmt: skip


def freezes(system: SchedulerHarness) -> FreezeControl:
    return FreezeControl(actor=BOB, clock=system.clock)


def groups(system: SchedulerHarness) -> GroupControl:
    return GroupControl(actor=BOB, clock=system.clock)


def an_hour(system: SchedulerHarness) -> dict[str, Any]:
    now = system.clock.now()
    return {"reason": "r", "since": now, "until": now + timedelta(hours=1)}


def refused_fields(work: Callable[..., object], *arguments: object, **values: Any) -> set[str]:
    """The fields that were refused. Any other error fails the test."""
    try:
        work(*arguments, **values)
    except InvalidJob as error:
        return set(error.problems)
    return set()


@pytest.mark.parametrize("field", FIELDS_OF_A_FREEZE)
def test_whatever_is_typed_into_a_freeze_is_refused_at_its_field(
    system: SchedulerHarness, field: str
):
    for number, wrong in enumerate(WRONG):
        values = {"name": f"f {number}", **an_hour(system), field: wrong}
        assert refused_fields(freezes(system).create, **values) <= {field}
    for row in freezes(system).all():
        assert freezes(system).problem(row) == ""


@pytest.mark.parametrize("field", FIELDS_OF_A_GROUP)
def test_whatever_is_typed_into_a_group_is_refused_at_its_field(
    system: SchedulerHarness, field: str
):
    may_miss = {"rate_count", "rate_seconds"}  # each needs the other one
    for number, wrong in enumerate(WRONG):
        values = {"name": f"g {number}", "max_running": 1, field: wrong}
        found = refused_fields(groups(system).set_limits, **values)
        assert found <= {field} | may_miss
        if field == "name":
            with pytest.raises(NotPossible):
                groups(system).delete(f"{wrong}?" if wrong == "3" else wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("door", ["operation", "file"])
@pytest.mark.parametrize("field", FIELDS_OF_A_JOB)
def test_whatever_is_typed_into_a_job_is_refused_at_its_field(
    system: SchedulerHarness, field: str, door: str
):
    def apply(name: str, wrong: object) -> None:
        document = {"jobs": {name: {"cron": "0 * * * *", "handler": "ok", field: wrong}}}
        found = JobFiles(source="file:a", clock=system.clock).apply(Document(value=document))
        if found.mistakes:
            raise InvalidJob({each.field: [each.text] for each in found.mistakes})

    many = [f"job {number}" for number in range(300_000)]
    for number, wrong in enumerate([*WRONG, many]):
        name = f"j {number}"
        if door == "file":
            found = refused_fields(apply, name, wrong)
        else:
            values = {"name": name, **HOURLY, field: wrong}
            found = refused_fields(system.control.create_job, **values)
        assert found <= {field}, repr(wrong)[:80]
    system.tick()  # what was accepted can be planned
    assert not CronJob.objects.exclude(schedule_error="").exists()


# --- freezes --------------------------------------------------------------------------------------


def test_a_freeze_that_would_never_hold_is_refused(system: SchedulerHarness):
    # It is a Tuesday.
    values = {"name": "weekend", **an_hour(system), "hours": "Sat 00:00 - Sun 24:00"}
    assert refused_fields(freezes(system).create, **values) == {"hours"}
    later = system.clock.now() + timedelta(days=7)
    assert freezes(system).create(**{**values, "until": later}).pk


def test_an_edit_cannot_let_a_freeze_end_before_now_by_a_typing_error(system: SchedulerHarness):
    made = freezes(system).create(name="move", **an_hour(system))
    system.clock.advance(600)
    past = system.clock.now() - timedelta(seconds=60)
    assert refused_fields(freezes(system).update, made.pk, until=past) == {"until"}

    system.clock.advance(7200)  # it is over, and what was right stays so
    assert freezes(system).update(made.pk, reason="it was a move").reason == "it was a move"


def test_a_tag_that_no_job_has_is_told_with_the_nearest(system: SchedulerHarness):
    system.control.create_job(name="a", tags=["warehouse"], **HOURLY)
    near = freezes(system).create(name="a", tags=["warehuose"], **an_hour(system))
    far = freezes(system).create(name="b", tags=["warehouse", "zzz"], **an_hour(system))

    assert freezes(system).warnings(near) == [
        "no job has the tag warehuose; did you mean warehouse?"
    ]
    assert freezes(system).warnings(far) == [
        "no job has the tag zzz: it blocks nothing until one has it"
    ]
    assert freezes(system).warnings(freezes(system).create(name="c", **an_hour(system))) == []


@pytest.mark.parametrize("tags", [5, "dwh", {"a": 1}, [1, None], True])
def test_tags_that_sql_has_written_hold_nothing_and_say_why(system: SchedulerHarness, tags: object):
    row = JobFreeze.objects.create(name="typed", tags=tags, **an_hour(system))
    assert freezes(system).problem(row) == "tags: must be a list of texts"
    assert freezes(system).holds_until(row, system.clock.now()) is None
    assert freezes(system).update(row.pk, tags=["dwh"]).tags == ["dwh"]


# --- two people -----------------------------------------------------------------------------------


def test_of_two_people_who_edit_a_freeze_the_second_one_overwrites_nothing(
    system: SchedulerHarness,
):
    made = freezes(system).create(name="move", **an_hour(system))
    system.clock.advance(1)
    changed = freezes(system).update(made.pk, seen_at=made.updated_at, tags=["dwh"])

    with pytest.raises(StaleEdit):
        freezes(system).update(made.pk, seen_at=made.updated_at, reason="another")

    row = JobFreeze.objects.get(pk=made.pk)
    assert (row.reason, row.tags, row.updated_at) == ("r", ["dwh"], changed.updated_at)
    assert freezes(system).update(made.pk, seen_at=row.updated_at, reason="b").reason == "b"


def test_an_edit_of_a_freeze_that_changes_nothing_is_no_edit(system: SchedulerHarness):
    made = freezes(system).create(name="move", **an_hour(system))
    system.clock.advance(1)
    assert freezes(system).update(made.pk, reason="r").updated_at == made.updated_at


def test_two_people_make_a_freeze_of_one_name_at_once(system: SchedulerHarness):
    values = {"name": "move", **an_hour(system)}

    def make() -> set[str]:
        return refused_fields(freezes(system).create, **values)

    assert sorted(together(*[make] * 4), key=len) == [set(), {"name"}, {"name"}, {"name"}]


def test_of_two_people_who_edit_a_group_the_second_one_overwrites_nothing(
    system: SchedulerHarness,
):
    made = groups(system).set_limits("dwh", max_running=1)
    system.clock.advance(1)
    groups(system).set_limits("dwh", seen_at=made.updated_at, max_running=2)

    with pytest.raises(StaleEdit):
        groups(system).set_limits("dwh", seen_at=made.updated_at, max_running=9)
    with pytest.raises(InvalidJob, match="taken by another group"):
        groups(system).set_limits("dwh", is_new=True, max_running=9)
    assert ConcurrencyGroup.objects.get().max_running == 2
    groups(system).delete("dwh")
    with pytest.raises(StaleEdit):  # it has gone meanwhile, and does not come back
        groups(system).set_limits("dwh", seen_at=made.updated_at, max_running=9)


def test_the_history_says_which_limits_of_a_group_have_changed(system: SchedulerHarness):
    groups(system).set_limits("mail", rate_count=100, rate_seconds=60)
    groups(system).set_limits("mail", rate_count=5, rate_per_key=True)

    entry = Activity.objects.latest("id")
    assert history.describe(entry, str) == "Changed most starts, starts are counted per key"
    changes = history.changes_of(entry, sees_params=True)
    assert [(each.field, each.old, each.new) for each in changes] == [
        ("most starts", "100", "5"), ("starts are counted per key", "false", "true"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["tenant", "params", "params.", "params.a b", "params..a"])
def test_a_key_that_sql_has_written_and_that_is_no_path_limits_all_runs_and_says_so(
    system: SchedulerHarness, path: str
):
    job = system.control.create_job(
        name="a", max_running=1, concurrency_key="params.tenant", cron_expression="* * * * *",
        handler_name="ok", handler_params={"tenant": "x"},
    )  # fmt: skip
    CronJob.objects.filter(pk=job.pk).update(concurrency_key=path)
    runs = [system.execution(job) for _number in range(2)]
    claim = claims.Claim(owner="w", lease_seconds=60, decide=decide)
    taken = claim.take(claims.MostUrgent([""], 5, claims.Floors()), system.clock.now())

    assert len(taken.started) == 1
    waiting = JobExecution.objects.get(pk=runs[1].pk)
    why = in_words(waiting, system.clock.now(), str)
    assert f"The key {path} is no path, such as params.tenant" in why
    assert refused_fields(system.control.update_job, job.pk, concurrency_key=path) <= {
        "concurrency_key"
    }


# --- backfills ------------------------------------------------------------------------------------


FIELDS_OF_A_BACKFILL = (
    "since", "until", "order", "parallelism", "per_minute", "only_missing", "ignores_overlap",
    "with_downstream", "params",
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS_OF_A_BACKFILL)
def test_whatever_is_typed_into_a_backfill_is_refused_at_its_field(
    system: SchedulerHarness, field: str
):
    job = system.control.create_job(name="a", **HOURLY)
    control = BackfillControl(actor=BOB, clock=system.clock)
    now = system.clock.now()
    texts = ["{slot:%", "{slot:%Q}", "{slot:\ud800}", "{slot:" + "%Y" * 5000 + "}"]
    for wrong in [*WRONG, *({"at": text} for text in texts)]:
        values = {"since": now - timedelta(hours=3), "until": now, field: wrong}
        found = refused_fields(control.start, job.pk, **values)
        assert found <= {field}, wrong


# --- dependencies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3])
def test_people_who_close_a_circle_at_once_are_not_all_let(system: SchedulerHarness, length: int):
    jobs = [system.control.create_job(name=f"j{n}", **HOURLY) for n in range(length)]

    def follow(number: int) -> set[str]:
        names = [jobs[(number + 1) % length].name]
        job_id = jobs[number].pk
        return refused_fields(system.control.update_job, job_id, upstreams=names)

    for _round in range(5):
        JobUpstream.objects.all().delete()
        found = together(*(lambda number=number: follow(number) for number in range(length)))
        assert sorted(found, key=len) == [*[set()] * (length - 1), {"upstreams"}]
    system.tick()
    assert CronJob.objects.filter(schedule_error="").count() == length


def test_a_job_is_not_deleted_while_somebody_lets_another_one_wait_for_it(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    if connection.vendor == "sqlite":
        return  # there is one writer, who has read everything after it began
    load, report = (system.control.create_job(name=n, **HOURLY) for n in ("load", "report"))
    locked, seen = threading.Event(), upstreams.lock_before

    def lock(names: Any) -> None:
        seen(names)
        locked.set()

    monkeypatch.setattr(upstreams, "lock_before", lock)

    def delete() -> str:
        assert locked.wait(30)
        try:
            system.control.delete_job(load.pk)
        except NotPossible as error:
            return str(error)
        return "deleted"

    _, told = together(lambda: system.control.update_job(report.pk, upstreams=["load"]), delete)
    assert "report wait for it" in str(told)


def test_a_group_is_not_deleted_while_somebody_gives_it_to_a_job(system: SchedulerHarness):
    job = system.control.create_job(name="a", **HOURLY)

    def take() -> bool:
        return not refused_fields(system.control.update_job, job.pk, concurrency_group="dwh")

    def delete() -> bool:
        try:
            groups(system).delete("dwh")
        except NotPossible:
            return False
        return True

    for _round in range(5):
        groups(system).set_limits("dwh", max_running=1)
        is_taken, is_deleted = together(take, delete)
        assert is_taken != is_deleted
        system.control.update_job(job.pk, concurrency_group="")


def test_an_upstream_job_that_is_renamed_or_disabled_is_still_the_upstream_job(
    system: SchedulerHarness,
):
    load = system.control.create_job(name="load", **HOURLY)
    report = system.control.create_job(
        name="report", cron_expression="@after", handler_name="ok", upstreams=["load"]
    )
    system.control.update_job(load.pk, name="load, nightly")
    system.control.disable(load.pk)
    system.control.update_job(report.pk, description="edited")
    system.tick()

    row = CronJob.objects.get(pk=report.pk)
    assert (row.upstreams, row.schedule_error) == (["load, nightly"], "")


def test_a_chain_that_is_too_long_is_no_circle(system: SchedulerHarness):
    jobs: dict[str, Any] = {
        f"c{n}": {"cron": "@after", "handler": "ok", "upstreams": [f"c{n + 1}"]}
        for n in range(1500)
    }
    jobs["c1500"] = {"cron": "0 * * * *", "handler": "ok"}

    found = JobFiles(source="file:a", clock=system.clock).plan(Document(value={"jobs": jobs}))

    texts = [each.text for each in found.mistakes if each.job == "c0"]
    assert any("waits for a chain of more than 50 jobs: c0 → c1 → c2 → …" in each for each in texts)
    assert not any("depends on itself" in each.text for each in found.mistakes)
