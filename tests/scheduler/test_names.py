"""Names of jobs: compared exactly on every database, and made of characters that people see."""

from __future__ import annotations

import pytest
from django.db import connection

from scheduler.checks import check_queues
from scheduler.models import Activity, ApiToken, CronJob, JobExecution, SchedulerProcess
from scheduler.operations.celery_app import own_app
from scheduler.operations.control import InvalidJob
from scheduler.operations.search import search_of
from scheduler.states import ProcessKind
from scheduler.store import processes
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.django_db, pytest.mark.database]

SEVERAL = [
    "report",
    "REPORT",
    "r\u00e9port",
    "\U0001f600",
    "\U0001f680",
    "\uc11c\uc6b8",
    "report\uff01",
]


def given(name: object) -> dict[str, object]:
    return {"name": name, "cron_expression": "@daily", "handler_name": "ok"}


def test_names_that_differ_in_case_accents_or_emoji_are_several_jobs(system: SchedulerHarness):
    made = {name: system.control.create_job(**given(name)).pk for name in SEVERAL}

    for name, id_ in made.items():
        assert CronJob.objects.get(name=name).pk == id_
    with pytest.raises(InvalidJob, match="is taken"):
        system.control.create_job(**given("report"))
    system.control.delete_job(CronJob.objects.get(name="\U0001f600").pk)
    assert set(CronJob.objects.values_list("name", flat=True)) == {*SEVERAL} - {"\U0001f600"}
    assert not CronJob.objects.filter(name="Report").exists()


def test_handlers_queues_owners_and_processes_are_found_exactly(system: SchedulerHarness):
    system.job(handler_name="mail", queue="slow", owner="kim")
    for field, other in (("handler_name", "Mail"), ("queue", "SLOW"), ("owner", "Kim")):
        assert not CronJob.objects.filter(**{field: other}).exists()

    now = system.clock.now()
    for name in ("beat@host:1", "beat@HOST:1"):
        processes.heartbeat(
            name=name, kind=ProcessKind.BEAT, host="h", pid=1, started_at=now, running=0, now=now
        )
    processes.forget_process("beat@HOST:1")
    assert list(SchedulerProcess.objects.values_list("name", flat=True)) == ["beat@host:1"]


def test_executions_entries_and_tokens_are_found_exactly_by_their_index(system: SchedulerHarness):
    now = system.clock.now()
    waiting = {"scheduled_time": now, "available_at": now, "params": {}}
    for handler in ("mail", "Mail", "mail ", "m\u00e4il"):
        JobExecution.objects.create(handler_name=handler, queue=handler.strip(), **waiting)
    for name in ("kim", "Kim"):
        Activity.objects.create(actor=name, door="admin", verb="run", target_kind="job")

    mail = JobExecution.objects.filter(handler_name="mail")
    assert [row.handler_name for row in mail] == ["mail"]
    assert JobExecution.objects.exclude(handler_name="mail").count() == 3
    several = JobExecution.objects.filter(handler_name__in=["mail", "Mail"])
    assert sorted(row.handler_name for row in several) == ["Mail", "mail"]
    assert JobExecution.objects.filter(queue="MAIL").count() == 0
    assert [entry.actor for entry in Activity.objects.filter(actor="kim")] == ["kim"]
    assert not ApiToken.objects.filter(name="x").exists()
    if connection.vendor == "mysql":
        assert "executions_handler" in mail.order_by().explain()


def test_a_search_ignores_case(system: SchedulerHarness):
    job = system.job(name="Nightly report", owner="Kim", handler_name="ok")
    system.control.update_job(job.pk, tags=["Paid"])
    system.job(name="50%_off")

    for text in ("NIGHTLY", "report", "kim", "paid", "OK"):
        assert job in CronJob.objects.filter(search_of(text)), text
    for text in ("50%_", "%", "_off"):
        found = CronJob.objects.filter(search_of(text)).distinct()
        assert [each.name for each in found] == ["50%_off"], text


@pytest.mark.parametrize(
    ("name", "character"),
    [
        (" report", "U+0020 SPACE"),
        ("report\u3000", "U+3000 IDEOGRAPHIC SPACE"),
        ("report\u00a0", "U+00A0 NO-BREAK SPACE"),
        ("re\tport", "U+0009"),
        ("re\u0085port", "U+0085"),
        ("re\u202eport", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("re\u200bport", "U+200B ZERO WIDTH SPACE"),
        ("report\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("re\u2028port", "U+2028 LINE SEPARATOR"),
        ("re\u3164port", "U+3164 HANGUL FILLER"),
    ],
)
def test_a_new_name_with_a_character_that_nobody_sees_is_refused_and_an_old_one_goes_on(
    system: SchedulerHarness, name: str, character: str
):
    source = system.job(name="source")
    for act in (
        lambda: system.control.create_job(**given(name)),
        lambda: system.control.clone_job(source.pk, name=name),
        lambda: system.control.update_job(source.pk, name=name),
    ):
        with pytest.raises(InvalidJob) as refusal:
            act()
        (problem,) = refusal.value.problems["name"]
        assert character in problem
        assert problem.isprintable()

    old = system.job(name=name)
    for _minute in range(2):
        system.clock.advance(60)
        system.tick()
    assert JobExecution.objects.filter(job=old, job_name=name).exists()
    system.control.disable(old.pk)
    system.control.enable(old.pk)
    system.control.update_job(old.pk, description="edited", name=name)
    system.control.update_job(old.pk, name="renamed")
    system.control.delete_job(old.pk)


def test_a_queue_that_celery_would_not_make_is_refused(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    system.control.create_job(**given("before"), queue="nowhere")
    assert check_queues(databases=["default"]) == []
    monkeypatch.setitem(own_app().conf, "task_create_missing_queues", False)

    with pytest.raises(InvalidJob) as caught:
        system.control.create_job(**given("after"), queue="nowhere")
    assert "nowhere is not among the queues of the Celery app: celery" in str(caught.value)
    system.control.create_job(**given("default"), queue="")
    [warning] = check_queues(databases=["default"])
    assert (warning.id, "not have: nowhere." in warning.msg) == ("jobu.W022", True)
