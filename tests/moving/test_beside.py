"""A shadow beside its old system: a week of pairs, all shadows, and the comparison as a page."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from scheduler.models import CronJob
from scheduler.moving import mapping_rules, reading
from scheduler.moving.shadow_verdicts import verdicts
from scheduler.moving.side_by_side import Judgement, Match, RunsFrom, paired, side_by_side
from scheduler.moving.sources import crontab as crontab_source
from tests.api.conftest import person, program
from tests.harness.scheduler_harness import SchedulerHarness
from tests.moving.conftest import options, own_registry
from tests.moving.test_switching import FIRST, MINUTE, OldBeat, beat, job, system

__all__ = ["beat", "job", "own_registry", "system"]  # fixtures

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

NINE = datetime(2026, 1, 12, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def client(db: None) -> Client:
    made = Client()
    made.force_login(User.objects.create_superuser("alice"))
    return made


def matches(slots: list[datetime], runs: list[datetime]) -> list[str]:
    found = paired(slots, runs, NINE + timedelta(days=1), late=timedelta(minutes=10))
    return [str(pair.match) for pair in found]


def test_a_run_belongs_to_the_last_slot_before_it():
    slots = [NINE + n * MINUTE for n in range(4)]
    late = [slot + 3 * SECOND for slot in slots]
    assert matches(slots, late) == ["both"] * 4
    assert matches(slots, [late[0], late[2], late[3]]) == ["both", "only_here", "both", "both"]
    assert matches(slots[1:], [late[0]]) == ["only_there", *["only_here"] * 3]
    assert matches(slots[:1], [slots[0] - SECOND]) == ["both"]  # its clock is behind
    assert matches(slots[:1], [slots[0] + timedelta(hours=1)]) == ["only_here", "only_there"]
    assert matches(slots[:2], [*late[:2], late[1] + SECOND]) == ["both", "both", "only_there"]
    exact = paired(slots[:1], [NINE + 5 * SECOND], NINE + timedelta(days=1), late=2 * SECOND)
    assert [pair.match for pair in exact] == [Match.ONLY_HERE, Match.ONLY_THERE]
    fresh = paired(slots[:1], [], NINE + SECOND, late=MINUTE)
    assert [pair.match for pair in fresh] == [Match.UNKNOWN]


def test_the_last_run_of_the_old_system_judges_the_newest_slots(
    system: SchedulerHarness, beat: OldBeat, job: CronJob
):
    system.minutes(6)
    beat.runs_at(FIRST + 2 * MINUTE + SECOND)

    found = side_by_side(job, system.clock.now())

    assert found.runs_from == RunsFrom.LAST_RUN
    unknown, here = Match.UNKNOWN, Match.ONLY_HERE
    assert [pair.match for pair in found.pairs] == [
        unknown, unknown, here, Match.BOTH, unknown, unknown
    ]  # fmt: skip
    assert found.pairs[3].late_seconds == 1
    assert found.judgement == Judgement.DIFFERS


def test_results_that_celery_has_kept_judge_each_slot(
    system: SchedulerHarness, beat: OldBeat, job: CronJob
):
    beat.execute(
        "create table django_celery_results_taskresult (id integer primary key,"
        " periodic_task_name text, date_created datetime)"
    )
    for at in (FIRST, FIRST + MINUTE):
        beat.execute(
            "insert into django_celery_results_taskresult (periodic_task_name, date_created)"
            " values ('a', ?)",
            at.replace(tzinfo=None).isoformat(" "),
        )
    system.minutes(3)
    system.clock.advance(120)

    found = side_by_side(job, system.clock.now())

    assert found.runs_from == RunsFrom.RESULTS
    assert found.counts == {Match.BOTH: 2, Match.ONLY_HERE: 1}


def test_all_shadows_have_a_verdict_with_one_look_at_each_system(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, tmp_path: Path, client: Client
):
    path = tmp_path / "crontab"
    path.write_text("*/10 * * * * /usr/bin/true\n")
    (entry,) = reading.read(f"crontab:{path}", options(timezone="UTC"))[1]
    given = {"cron_expression": "*/10 * * * *", "timezone": "UTC", "is_shadow": True}
    same = system.job(source=f"crontab:{entry.key}", **given)
    moved = {**given, "cron_expression": "5/10 * * * *"}
    other = system.job(source=f"crontab:{entry.key}", **moved)
    gone = system.job(source=f"crontab:{tmp_path}/gone:1234", **given)
    system.minutes(5)
    beat.execute(
        "alter table django_celery_beat_periodictask add column task text default 'shop.plain'"
    )
    for column in ("args", "kwargs", "interval_id", "crontab_id", "expires"):
        beat.execute(f"alter table django_celery_beat_periodictask add column {column} text")
    beat.runs_at(FIRST + 4 * MINUTE)
    now = system.clock.now()

    found = verdicts(CronJob.objects.filter(is_shadow=True), system.settings, now)

    assert {found[row.pk].judgement for row in (job, same)} == {Judgement.IN_STEP}
    assert found[other.pk].judgement == Judgement.DIFFERS
    assert found[gone.pk].judgement == Judgement.UNKNOWN
    assert "cannot be read" in found[gone.pk].problem
    beat.execute("update django_celery_beat_periodictask set enabled = 0")
    assert verdicts([job], system.settings, now)[job.pk].is_off_there
    shown = client.get("/admin/scheduler/cronjob/shadows/").content.decode()
    for row in (job, same, other, gone):
        assert row.name in shown


def test_two_thousand_shadows_are_shown_page_by_page_and_only_these_are_read(
    system: SchedulerHarness, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "crontab"
    lines = [f"{n % 60} {n // 60 % 24} * * * /usr/bin/true {n}" for n in range(2000)]
    path.write_text("\n".join(lines) + "\n")
    entries = reading.read(f"crontab:{path}", options(timezone="UTC"))[1]
    CronJob.objects.bulk_create(
        CronJob(
            name=f"job {number:04}", cron_expression=entry.values["cron_expression"],
            timezone="UTC", handler_name="ok", source=f"crontab:{entry.key}", is_shadow=True,
            is_enabled=False,
        )
        for number, entry in enumerate(entries)
    )  # fmt: skip
    made: list[object] = []
    of_rule = mapping_rules.columns_of_rule

    def counted(*given: Any, **named: Any) -> Any:
        made.append(given)
        return of_rule(*given, **named)

    monkeypatch.setattr(crontab_source, "columns_of_rule", counted)

    first = client.get("/admin/scheduler/cronjob/shadows/")
    seconds = min(_seconds_of(client, page) for page in (2, 20, 40))
    last = client.get("/admin/scheduler/cronjob/shadows/?p=40").content.decode()
    beyond = client.get("/admin/scheduler/cronjob/shadows/?p=99").content.decode()

    assert len(made) == 6 * 50
    text = first.content.decode()
    assert ("job 0000" in text, "job 0049" in text, "job 0050" in text) == (True, True, False)
    assert 'href="?p=40"' in text
    assert text.count("in step") >= 50
    for shown in (last, beyond):
        assert ("job 1949" in shown, "job 1950" in shown, "job 1999" in shown) == (
            False, True, True,
        )  # fmt: skip
    # It takes 0.1 s on two cores with nothing else to do.
    assert seconds < 2


def _seconds_of(client: Client, page: int) -> float:
    begun = time.monotonic()
    assert client.get(f"/admin/scheduler/cronjob/shadows/?p={page}").status_code == 200
    return time.monotonic() - begun


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pages_show_both_sides(
    system: SchedulerHarness, beat: OldBeat, job: CronJob, client: Client, language: str
):
    system.minutes(3)
    beat.runs_at(FIRST)
    page = f"/admin/scheduler/cronjob/{job.pk}"
    head = {"Accept-Language": language}

    home = client.get(f"{page}/change/", headers=head).content.decode()
    beside = client.get(f"{page}/beside/", headers=head).content.decode()

    assert f"{page}/beside/" in home
    assert f"{page}/old-system/" in home
    assert ("only here" if language == "en" else "여기에만") in beside


def test_the_comparison_is_a_page(system: SchedulerHarness, tmp_path: Path, client: Client):
    path = tmp_path / "crontab"
    path.write_text("0 9 * * 1-5 /usr/bin/true\n")
    (entry,) = reading.read(f"crontab:{path}", options(timezone="Asia/Seoul"))[1]
    values: dict[str, Any] = {"cron_expression": "0 9 * * 1-5", "timezone": "Asia/Seoul"}
    made = system.job(source=f"crontab:{entry.key}", **values)
    page = f"/admin/scheduler/cronjob/{made.pk}/old-system/"

    assert "No slot differs" in client.get(page).content.decode()
    CronJob.objects.filter(pk=made.pk).update(timezone="Asia/Tokyo", cron_expression="0 8 * * 1-5")
    other = client.get(page, {"days": "400"}).content.decode()
    assert "other times of the day" in other
    wrong = client.get(page, {"days": "401"})
    assert wrong.status_code == 200
    assert "400" in wrong.content.decode()
    path.unlink()
    assert "cannot be read" in client.get(page).content.decode()
    plain = system.job()
    assert client.get(f"/admin/scheduler/cronjob/{plain.pk}/old-system/").status_code == 404


def test_who_may_not_see_executions_sees_no_week(system: SchedulerHarness, job: CronJob):
    client = Client()
    client.force_login(person("bob", "view_cronjob"))
    page = f"/admin/scheduler/cronjob/{job.pk}"
    assert client.get(f"{page}/beside/").status_code == 403
    assert client.get("/admin/scheduler/cronjob/shadows/").status_code == 403
    assert client.get(f"{page}/old-system/").status_code == 200
    assert client.get(f"{page}/switch/").status_code == 403
    for codename in ("pause_cronjob", "view_cronjob"):
        other = person(codename, codename)
        body = {"old_side": "by_hand", "is_done_there": True}
        assert program(other).post(f"/crons/{job.pk}/switch", body).status_code == 403
        client.force_login(other)
        done = client.post(f"{page}/switch/", {"old_side": "by_hand", "is_done": "on"})
        assert done.status_code == 403
    job.refresh_from_db()
    assert job.is_shadow
