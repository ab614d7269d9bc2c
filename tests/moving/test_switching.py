"""A job is switched from its old system to here, and back: nothing twice, nothing lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from scheduler import failpoints
from scheduler.alerts.watchers import HostReadings
from scheduler.alerts.watching import BeatWatch
from scheduler.beat import dispatcher
from scheduler.models import Activity, Alert, CronJob, JobExecution, JobSwitch
from scheduler.moving import reading
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.instructions import instruction
from scheduler.moving.old_sides import old_task
from scheduler.moving.switching import Switching
from scheduler.moving.tables import reading as reading_tables
from scheduler.operations.errors import NotPossible
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.history import describe
from scheduler.operations.switches import SYSTEMS, SwitchControl
from scheduler.states import (
    BlockedSlots,
    OldSide,
    ReasonCode,
    RunStatus,
    SwitchDirection,
    SwitchState,
)
from scheduler.store.connection import database_now
from tests.api.conftest import Program, error_of, ok, program
from tests.harness.scheduler_harness import START, SchedulerHarness
from tests.harness.scheduler_harness import ok as handler_ok
from tests.harness.servers import Redis
from tests.harness.system import ROOT
from tests.harness.waiting import wait_until
from tests.moving.conftest import options, own_registry
from tests.test_commands import run

__all__ = ["own_registry"]  # a fixture

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

HERE, BACK = SwitchDirection.HERE, SwitchDirection.BACK
MINUTE = timedelta(minutes=1)
FIRST = START.replace(second=0) + MINUTE


@pytest.fixture
def system(
    settings: Any,
    transactional_db: None,
    own_registry: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SchedulerHarness]:
    # Beat leaves the processor to the workers that it wakes. Here it wakes none.
    monkeypatch.setattr(dispatcher, "WORKERS_FIRST_SECONDS", 0)
    made = SchedulerHarness(settings)
    made.configure(default_timezone="UTC", min_cron_interval_seconds=60)
    made.handler("ok", handler_ok)
    yield made
    made.close()


class OldBeat:
    """The two tables of django-celery-beat, and what its scheduler does with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.execute(
            "create table django_celery_beat_periodictask (id integer primary key, name text,"
            " enabled bool, last_run_at datetime, total_run_count integer)"
        )
        self.execute(
            "create table django_celery_beat_periodictasks (ident integer primary key,"
            " last_update datetime)"
        )
        self.execute("insert into django_celery_beat_periodictask values (7, 'a', 1, null, 0)")

    def execute(self, statement: str, *params: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement, params).fetchall()

    def runs_at(self, at: datetime) -> None:
        """It runs the task. A task that is switched off forgets when: PeriodicTask.save()."""
        self.execute(
            "update django_celery_beat_periodictask set total_run_count = total_run_count + 1,"
            " last_run_at = case when enabled then ? end",
            at.replace(tzinfo=None).isoformat(" "),
        )

    @property
    def row(self) -> tuple[bool, str | None]:
        ((enabled, last),) = self.execute(
            "select enabled, last_run_at from django_celery_beat_periodictask"
        )
        return bool(enabled), last

    @property
    def last_update(self) -> str | None:
        rows = self.execute("select last_update from django_celery_beat_periodictasks")
        return rows[0][0] if rows else None


@pytest.fixture
def beat(tmp_path: Path) -> OldBeat:
    return OldBeat(tmp_path / "beat.sqlite3")


@pytest.fixture
def job(system: SchedulerHarness, beat: OldBeat) -> CronJob:
    """A shadow of an entry that runs every minute."""
    made = system.control.create_job(name="a", cron_expression="* * * * *", handler_name="ok")
    source = f"django-celery-beat:{beat.path}:7"
    CronJob.objects.filter(pk=made.pk).update(source=source)
    return system.control.shadow(made.pk, on=True)


@pytest.fixture
def switching(system: SchedulerHarness) -> Switching:
    return Switching(control=SwitchControl(clock=system.clock))


def to_the_end(
    switching: Switching, system: SchedulerHarness, job: CronJob, direction: SwitchDirection = HERE
) -> JobSwitch:
    switch = switching.control.begin_switch(job.pk, direction, OldSide.WRITTEN)
    for _ in range(10):
        if switch.is_done:
            return switch
        system.clock.advance(switching.seconds_to_wait(switch))
        switch = switching.step(switch)
    raise AssertionError(switch)


def runs(job: CronJob) -> dict[datetime, str]:
    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    return dict(rows.values_list("scheduled_time", "status"))


def test_slots_that_the_old_system_has_not_run_run_here_and_no_other(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    system.minutes(2)
    beat.runs_at(FIRST + timedelta(seconds=0.4))
    switch = switching.control.begin_switch(job.pk, HERE, OldSide.WRITTEN)
    assert beat.last_update is None

    switch = switching.step(switch)
    asked = beat.last_update
    assert (switch.state, beat.row[0]) == (SwitchState.ASKED, True)
    assert switching.step(switch).state == SwitchState.ASKED  # the old scheduler needs a moment
    system.clock.advance(10)
    switch = switching.step(switch)
    assert (switch.state, beat.row[0]) == (SwitchState.OFF_THERE, False)
    assert asked is not None
    assert beat.last_update is not None
    assert beat.last_update > asked
    beat.runs_at(FIRST + MINUTE)  # it had not noticed yet, and now it forgets when
    assert beat.row == (False, None)
    system.minutes(1)
    assert switching.step(switch).is_done

    statuses = [RunStatus.SKIPPED, RunStatus.SKIPPED, RunStatus.PENDING]
    assert list(runs(job).values()) == statuses
    system.deliver()
    system.minutes(1)
    assert list(runs(job).values()) == [*statuses[:2], RunStatus.SUCCESS, RunStatus.SUCCESS]
    job.refresh_from_db()
    assert job.is_enabled
    assert not job.is_shadow
    assert "slots that were left: 1" in describe(Activity.objects.latest("id"), str)


def test_back_it_is_a_shadow_and_the_old_system_goes_on_after_our_last_slot(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    to_the_end(switching, system, job)
    system.minutes(2)
    newest = max(runs(job))

    to_the_end(switching, system, job, BACK)

    job.refresh_from_db()
    assert job.is_shadow
    assert beat.row == (True, newest.replace(tzinfo=None).isoformat(" "))
    system.minutes(1)
    assert list(runs(job).values())[-1] == RunStatus.SKIPPED
    with pytest.raises(NotPossible, match="does not run here"):
        switching.control.begin_switch(job.pk, BACK, OldSide.WRITTEN)


def test_a_job_that_was_off_runs_what_it_has_missed_since_the_last_run_there(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    system.control.disable(job.pk)
    system.clock.advance(180)
    beat.runs_at(FIRST)

    to_the_end(switching, system, job)

    system.deliver()
    assert list(runs(job)) == [FIRST + MINUTE, FIRST + 2 * MINUTE]
    assert set(runs(job).values()) == {RunStatus.SUCCESS}
    system.minutes(1)
    assert len(runs(job)) == 3


POINTS = [point for point in failpoints.POINTS if point.startswith("switch.")]


@pytest.mark.parametrize("point", POINTS)
def test_a_switch_that_dies_anywhere_goes_on_and_ends_the_same(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching, point: str
):
    direction = BACK if point in ("switch.off_here", "switch.on_there") else HERE
    system.minutes(2)
    beat.runs_at(FIRST)
    if direction == BACK:
        to_the_end(switching, system, job)
        system.deliver()

    def dies() -> None:
        failpoints.arm(point)
        to_the_end(switching, system, job, direction)
        os._exit(0)

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    (left,) = JobSwitch.objects.all()
    assert not left.is_done

    to_the_end(switching, system, job, direction)

    job.refresh_from_db()
    assert (job.is_shadow, beat.row[0]) == (direction == BACK, direction == BACK)
    system.deliver()
    assert [status for _slot, status in sorted(runs(job).items())] == [
        RunStatus.SKIPPED, RunStatus.SUCCESS
    ]  # fmt: skip
    assert JobExecution.objects.filter(attempt__gt=1).count() == 0


@pytest.mark.parametrize("point", POINTS)
def test_beat_goes_on_with_a_switch_that_nobody_goes_on_with(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching, point: str
):
    direction = BACK if point in ("switch.off_here", "switch.on_there") else HERE
    system.minutes(2)
    beat.runs_at(FIRST)
    if direction == BACK:
        to_the_end(switching, system, job)

    def dies() -> None:
        failpoints.arm(point)
        to_the_end(switching, system, job, direction)
        os._exit(0)

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    began = JobSwitch.objects.get()
    # Whoever began it may still be there.
    system.clock.advance(5)
    system.tick()
    assert JobSwitch.objects.get().state == began.state

    for _ in range(8):
        system.clock.advance(11)
        system.tick()
        wait_until(is_idle(system), 20, "the step of this tick")

    assert JobSwitch.objects.get().is_done
    job.refresh_from_db()
    assert (job.is_shadow, beat.row[0]) == (direction == BACK, direction == BACK)
    system.deliver()
    ran = {slot for slot, status in runs(job).items() if status == RunStatus.SUCCESS}
    assert FIRST not in ran
    assert FIRST + MINUTE in ran


def is_idle(system: SchedulerHarness) -> Any:
    """Whether the thread of beat's last step has ended."""
    free = system.dispatcher._switches._errands._free

    def idle() -> bool:
        if not free.acquire(blocking=False):
            return False
        free.release()
        return True

    return idle


@pytest.mark.parametrize("kept", ["by hand", "unknown place", "old system away"])
def test_beat_leaves_a_switch_alone_that_only_a_person_can_go_on_with(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching, kept: str
):
    side = OldSide.BY_HAND if kept == "by hand" else OldSide.WRITTEN
    source = f"django-celery-beat:{beat.path}:7"
    if kept == "unknown place":
        source = "django-celery-beat:db.example.com/shop:7"
    CronJob.objects.filter(pk=job.pk).update(source=source)
    began = switching.control.begin_switch(job.pk, HERE, side)
    if kept == "old system away":
        beat.execute("drop table django_celery_beat_periodictasks")
    for _ in range(3):
        system.clock.advance(30)
        system.tick()
        wait_until(is_idle(system), 20, "the step of this tick")

    switch = JobSwitch.objects.get()
    assert switch.state == began.state
    assert ("cannot be read" in switch.error) == (kept == "old system away")
    job.refresh_from_db()
    assert job.is_shadow


def test_slots_that_a_switch_catches_up_wait_for_their_upstream_jobs_and_an_approval(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    def fails(self: Any, params: Any) -> None:
        raise RuntimeError("not today")

    system.handler("fails", fails)
    up = system.control.create_job(name="up", cron_expression="* * * * *", handler_name="ok")
    system.control.update_job(job.pk, upstreams=["up"], approval_seconds=600)
    system.minutes(1)
    system.control.update_job(up.pk, handler_name="fails", max_retry=0)
    system.minutes(1)
    beat.runs_at(FIRST - MINUTE)

    to_the_end(switching, system, job)

    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    assert [row.reason_code for row in rows] == [ReasonCode.UPSTREAM_AWAITED] * 2
    system.tick()
    # The first slot of `up` has succeeded, the second one has not.
    codes = [ReasonCode.AWAITS_APPROVAL, ReasonCode.UPSTREAM_AWAITED]
    assert [row.reason_code for row in rows.all()] == codes
    system.deliver()
    assert {row.status for row in rows.all()} == {RunStatus.PENDING}


@pytest.mark.parametrize("is_on", [True, False], ids=["shadow", "off"])
@pytest.mark.parametrize("blocked", [BlockedSlots.SKIP, BlockedSlots.LATEST])
def test_slots_that_a_switch_catches_up_obey_freezes(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching,
    blocked: BlockedSlots, is_on: bool,
):  # fmt: skip
    """The freeze began after the first slot, and holds when both would run."""
    if is_on:
        system.minutes(2)
    else:
        system.control.disable(job.pk)
        system.clock.advance(120)
    beat.runs_at(FIRST - MINUTE)
    end = FIRST + timedelta(seconds=118)  # before the next slot
    FreezeControl(clock=system.clock).create(
        name="release", reason="a release", since=FIRST + timedelta(seconds=30), until=end,
        blocked_slots=blocked,
    )  # fmt: skip

    to_the_end(switching, system, job)

    assert system.deliver() == []
    rows = {row.scheduled_time: row for row in JobExecution.objects.filter(job_id=job.pk)}
    first, last = rows[FIRST], rows[FIRST + MINUTE]
    assert (first.status, first.reason_code) == (RunStatus.SKIPPED, ReasonCode.FROZEN)
    assert first.reason_facts["freeze"] == "release"
    if blocked == BlockedSlots.SKIP:
        assert (last.status, last.reason_code) == (RunStatus.SKIPPED, ReasonCode.FROZEN)
        return
    assert (last.status, last.reason_code) == (RunStatus.PENDING, ReasonCode.FROZEN_HELD)
    system.clock.advance_to(end)
    system.deliver()
    last.refresh_from_db()
    assert last.status == RunStatus.SUCCESS


def test_a_job_that_may_be_off_on_both_sides_is_an_alert(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    switch = switching.control.begin_switch(job.pk, HERE, OldSide.WRITTEN)
    for _ in range(2):
        system.clock.advance(10)
        switch = switching.step(switch)
    assert switch.state == SwitchState.OFF_THERE
    looks = BeatWatch(system.clock.monotonic)

    def open_alerts() -> list[str]:
        system.clock.advance(20)
        looks.look(system.clock.now(), lambda: HostReadings(host="a"))
        return list(Alert.objects.exclude(state="closed").values_list("kind", flat=True))

    assert open_alerts() == []
    system.clock.advance(300)
    assert open_alerts() == ["switch_stands"]
    assert switching.step(switch).is_done
    assert open_alerts() == []


def test_an_entry_that_somebody_has_switched_on_again_or_deleted_is_said(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, switching: Switching
):
    switch = switching.control.begin_switch(job.pk, HERE, OldSide.WRITTEN)
    for _ in range(2):
        switch = switching.step(switch)
        system.clock.advance(10)
    beat.execute("update django_celery_beat_periodictask set enabled = 1")
    with pytest.raises(NotPossible, match="switched it on there again"):
        switching.step(switch)
    assert "on there again" in JobSwitch.objects.get().error
    job.refresh_from_db()
    assert job.is_shadow

    beat.execute("delete from django_celery_beat_periodictask")
    with pytest.raises(NotPossible, match="no entry 7"):
        switching.step(switch)
    other = Switching(control=switching.control, where="redbeat:redis://127.0.0.1/0")
    with pytest.raises(NotPossible, match="comes from django-celery-beat"):
        other.step(switch)


def test_by_hand_the_command_says_what_to_do_and_waits_for_a_person(
    system: SchedulerHarness, job: CronJob
):
    source = "kubernetes:/srv/jobs.yaml:shop/nightly report"
    CronJob.objects.filter(pk=job.pk).update(source=source)

    waits = run("jobs", "switch", "a")

    assert waits.code == 1
    assert "kubectl patch cronjob 'nightly report' -n shop" in waits.err
    assert '{"spec":{"suspend":true}}' in waits.err
    assert "--old-side by-hand" in waits.err
    assert "no source" not in run("jobs", "switch", "a", "--old-side", "written").err
    done = run("jobs", "switch", "a", "--old-side", "by-hand", "--json")
    assert (done.code, done.json["state"]) == (0, "done")
    job.refresh_from_db()
    assert not job.is_shadow
    assert run("jobs", "switch", "a", "--old-side", "by-hand").code == 1
    assert run("jobs", "switch").code == 1
    back = run("jobs", "switch", "a", "--back")
    assert '{"spec":{"suspend":false}}' in back.err
    resumed = run("jobs", "switch", "--resume", "--old-side", "by-hand", "--json")
    assert (resumed.code, resumed.json["done"]) == (0, 1)
    assert run("jobs", "switch", "--resume", "--json").json["done"] == 0
    job.refresh_from_db()
    assert job.is_shadow


def test_a_job_that_nobody_has_imported_cannot_be_switched(system: SchedulerHarness):
    made = system.control.create_job(name="b", cron_expression="* * * * *", handler_name="ok")
    assert "was not imported" in run("jobs", "switch", "b").err
    assert program(User.objects.create_superuser("alice")).post(
        f"/crons/{made.pk}/switch"
    ).status_code == 409  # fmt: skip
    assert not JobSwitch.objects.exists()


def test_the_api_does_one_step_a_request(system: SchedulerHarness, beat: OldBeat, job: CronJob):
    api: Program = program(User.objects.create_superuser("alice"))
    client = Client()
    client.force_login(User.objects.get())
    first = ok(api.post(f"/crons/{job.pk}/switch", {"old_side": "written"}))
    shown = client.get(f"/admin/scheduler/cronjob/{job.pk}/change/").content.decode()
    assert "has not ended since" in shown
    assert (first["state"], first["direction"]) == ("asked", "here")
    assert 0 < first["wait_seconds"] <= 10
    assert "periodic task 7" in first["instruction"]
    body = {"old_side": "by_hand", "is_done_there": True}
    assert ok(api.post(f"/crons/{job.pk}/switch", body))["state"] == "done"
    assert error_of(api.post(f"/crons/{job.pk}/switch", {"direction": "there"}), 400)
    assert api.post("/crons/999999/switch").status_code == 404


def test_the_pages_ask_and_act_with_a_post(system: SchedulerHarness, job: CronJob):
    client = Client()
    client.force_login(User.objects.create_superuser("alice"))
    page = f"/admin/scheduler/cronjob/{job.pk}"
    assert f"{page}/switch" in client.get(f"{page}/change/").content.decode()
    asks = client.get(f"{page}/switch/").content.decode()
    assert "periodic task 7" in asks
    assert "jobu writes it there" in asks
    assert not JobSwitch.objects.exists()

    CronJob.objects.filter(pk=job.pk).update(source="airflow:/d.json:<b>x</b>")
    assert "&lt;b&gt;x&lt;/b&gt;" in client.get(f"{page}/switch/").content.decode()
    assert "<b>x" not in client.get(f"{page}/switch/").content.decode()
    CronJob.objects.filter(pk=job.pk).update(source=job.source)
    refused = client.post(f"{page}/switch/", {"old_side": "by_hand"}).content.decode()
    assert "do this first" in refused
    assert not JobSwitch.objects.exists()
    client.post(f"{page}/switch/", {"old_side": "by_hand", "is_done": "on"})
    job.refresh_from_db()
    assert not job.is_shadow
    client.post(f"{page}/switch-back/", {"old_side": "written"})
    job.refresh_from_db()
    assert job.is_shadow
    assert JobSwitch.objects.get().is_done


def test_redbeat_is_switched_in_redis(redis_server: Redis):
    from celery import Celery
    from celery.schedules import schedule
    from redbeat import RedBeatSchedulerEntry

    url = redis_server.create_database()
    app = Celery("legacy", set_as_current=False)
    app.conf.redbeat_redis_url = url
    entry = RedBeatSchedulerEntry("x", "shop.plain", schedule(60), app=app).save()
    (found,) = reading.read(f"redbeat:{url}", options(timezone="UTC"))[1]
    task = old_task(f"redbeat:{found.key}", f"redbeat:{url}")
    last = datetime(2026, 1, 12, 10, tzinfo=UTC)

    task.switch_off(last)
    assert not task.state().is_enabled
    read = RedBeatSchedulerEntry.from_key(entry.key, app=app)
    assert read.enabled is False
    assert read.schedule == schedule(60)
    task.switch_on(last, last)
    app.redbeat_redis.hset(entry.key + "-broken", "definition", "{nonsense")
    broken = old_task(f"redbeat:{found.key}-broken", f"redbeat:{url}")
    with pytest.raises(UnreadableSource, match="the entry cannot be read"):
        broken.state()

    read = RedBeatSchedulerEntry.from_key(entry.key, app=app)
    assert (read.enabled, read.last_run_at) == (True, last)
    assert task.state().last_run_at == last
    app.redbeat_redis.close()


def test_django_celery_beats_own_scheduler_notices(system: SchedulerHarness, job_database_url: str):
    command = [sys.executable, "-W", "ignore", "-m", "tests.moving.beat_scheduler"]
    with subprocess.Popen(
        [*command, job_database_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as old:
        assert old.stdin is not None
        assert old.stdout is not None

        def told(word: str = "") -> dict[str, Any]:
            assert old.stdin is not None
            assert old.stdout is not None
            if word:
                old.stdin.write(f"{word}\n")
                old.stdin.flush()
            found: dict[str, Any] = json.loads(old.stdout.readline())
            return found

        number = told()["id"]
        where = f"django-celery-beat:{job_database_url}"
        with reading_tables(job_database_url) as database:
            source = f"django-celery-beat:{database.label}:{number}"
        task, now = old_task(source, where), database_now()
        assert told("run")["is_due"] is False
        assert task.state().last_run_at is None  # its memory alone knows

        task.ask_to_write(now)
        told("look")
        state = task.state()
        assert state.runs == 1
        assert state.last_run_at is not None

        task.switch_off(now)
        assert "a" not in told("look")["names"]
        assert not task.state().is_enabled
        task.switch_on(now, now)
        looked = told("look")
        assert ("a" in looked["names"], looked["is_due"]) == (True, False)
        assert task.state().is_enabled
        old.stdin.close()
        assert old.wait(20) == 0


def test_each_system_has_an_instruction():
    assert set(SYSTEMS) == set(reading.KINDS)
    keys = {kind: f"{kind}:place:entry" for kind in SYSTEMS}
    for on in (True, False):
        texts = {instruction(CronJob(name="n", source=key), on=on) for key in keys.values()}
        assert len(texts) == len(keys) - 1  # both kinds of crontab
