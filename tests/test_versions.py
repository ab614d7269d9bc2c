"""A job is restored from its history, and every door says how it differs from its file."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import translation

from scheduler.models import Activity, CronJob
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control, InvalidJob, NotPossible
from scheduler.operations.history import describe
from scheduler.operations.job_files import Document, JobFiles
from scheduler.states import Door
from scheduler.store.connection import database_now
from tests.admin.test_admin import form_of, save
from tests.api.conftest import Program, ok, person, program
from tests.test_commands import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

BOB = Control(actor=Actor(name="bob", door=Door.ADMIN))
SECRET = "hunter2-s3cr3t"


@pytest.fixture
def job(db: None) -> CronJob:
    made = BOB.create_job(
        name="nightly", cron_expression="0 3 * * *", handler_name="sample",
        handler_params={"message": "old", "password": SECRET}, tags=["a"],
    )  # fmt: skip
    params = {"message": "new", "password": SECRET + "2"}
    BOB.update_job(
        made.pk, name="weekly", cron_expression="0 4 * * 1", handler_params=params, tags=["b"]
    )
    BOB.disable(made.pk)
    return CronJob.objects.get()


@pytest.fixture
def api(db: None) -> Program:
    return program(User.objects.create_superuser("alice"))


def entry_of(job: CronJob, verb: str) -> Activity:
    return Activity.objects.get(target_kind="job", target_id=job.pk, verb=verb)


def assert_restored(job: CronJob) -> None:
    job = CronJob.objects.get(pk=job.pk)
    assert (job.name, job.cron_expression, job.tags) == ("nightly", "0 3 * * *", ["a"])
    # The secret is today's: the history keeps none.
    assert job.handler_params == {"message": "old", "password": SECRET + "2"}
    assert not job.is_enabled  # it was on then; nobody has switched it on now


def test_command_restores_an_entry_or_an_instant_and_shows_it_first(job):
    created = entry_of(job, "created")

    done = run("jobs", "restore", "weekly", "--entry", created.pk, "--dry-run")

    assert done.code == 0, done.err
    assert "weekly would be as it was at" in done.out
    assert "    name: weekly -> nightly" in done.out
    assert "    parameters: message: new -> old" in done.out
    assert "handler_params.password keeps the value of today" in done.err
    assert SECRET not in done.out + done.err
    assert CronJob.objects.get().name == "weekly"

    at = (created.at + timedelta(microseconds=1)).isoformat()
    done = run("jobs", "restore", "weekly", "--at", at, "--as", "carol", "--json")
    assert done.json["done"]
    assert done.json["entry_id"] == created.pk
    assert done.json["kept_secrets"] == ["handler_params.password"]
    assert_restored(job)
    newest = Activity.objects.latest("id")
    assert (newest.actor, newest.verb) == ("carol", "changed")
    assert describe(newest, str).startswith("Restored the version of ")

    done = run("jobs", "restore", "nightly", "--entry", created.pk)
    assert "as it was at" in done.out
    assert Activity.objects.latest("id") == newest


def test_version_before_the_first_entry_that_is_left_is_known_by_that_entry(job):
    Activity.objects.filter(verb="created").delete()  # as retention does

    assert run("jobs", "restore", "weekly", "--at", "1d ago").code == 0
    assert_restored(job)


def test_what_the_history_does_not_have_is_refused_with_the_reason(job):
    switch = entry_of(job, "disabled")
    for arguments, problem in (
        (["--entry", switch.pk], f"entry #{switch.pk} of the history keeps no version"),
        (["--entry", 10**9], "keeps no version of this job"),
        (["--at", "1d ago"], "the history has no version of that time"),
        (["--at", "someday"], "is no time"),
    ):
        done = run("jobs", "restore", "weekly", *arguments)
        assert done.code == 1
        assert problem in done.err

    created = entry_of(job, "created")
    BOB.update_job(job.pk, handler_params={"message": "no secret any more"})
    done = run("jobs", "restore", "weekly", "--entry", created.pk)
    assert "none is stored now: handler_params.password" in done.err

    BOB.update_job(job.pk, handler_params={"password": "x"})
    BOB.create_job(name="nightly", cron_expression="0 3 * * *", handler_name="sample")
    done = run("jobs", "restore", "weekly", "--entry", created.pk)
    assert "name: is taken by another job" in done.err
    assert CronJob.objects.get(pk=job.pk).name == "weekly"
    with pytest.raises(InvalidJob):
        BOB.version(job.pk)
    with pytest.raises(NotPossible):
        BOB.version(CronJob.objects.get(name="nightly").pk, entry_id=created.pk)


def test_api_restores_and_refuses_a_stale_edit(job, api):
    created = entry_of(job, "created")
    address = f"/crons/{job.pk}/restore"

    dry = ok(api.post(address, {"entry_id": created.pk, "dry_run": True}))
    assert not dry["done"]
    assert {"field": "cron expression", "old": "0 4 * * 1", "new": "0 3 * * *"} in dry["changes"]
    assert SECRET not in json.dumps(dry)

    stale = api.post(address, {"entry_id": created.pk, "tick_seq": job.tick_seq - 1})
    assert stale.status_code == 409
    assert api.post(address, {}).status_code == 400
    assert api.post(address, {"entry_id": created.pk, "at": "x"}).status_code == 400
    assert CronJob.objects.get().name == "weekly"

    done = ok(api.post(address, {"at": created.at.isoformat(), "tick_seq": job.tick_seq}))
    assert done["done"]
    assert done["cron"]["name"] == "nightly"
    assert_restored(job)

    reader = person("reader", "view_cronjob")
    assert program(reader).post(address, {"entry_id": created.pk}).status_code == 403


@once
def test_history_page_offers_versions_and_a_form_that_is_fresh_restores_them(job):
    admin = Client()
    admin.force_login(User.objects.create_superuser("alice"))
    created = entry_of(job, "created")
    address = reverse("admin:scheduler_cronjob_restore", args=[job.pk, created.pk])

    history = admin.get(reverse("admin:scheduler_cronjob_history", args=[job.pk]))
    assert history.content.decode().count("Restore this version") == 2
    assert address in history.content.decode()

    page = admin.get(address)
    assert "0 4 * * 1" in page.content.decode()
    assert "handler_params.password" in page.content.decode()
    assert SECRET not in page.content.decode()
    seen = page.context["seen"]

    BOB.update_job(job.pk, description="meanwhile")
    answer = admin.post(address, {"seen": seen}, follow=True)
    assert "changed by somebody else" in answer.content.decode()
    assert CronJob.objects.get().name == "weekly"

    seen = admin.get(address).context["seen"]
    assert Client().post(address, {"seen": seen}).status_code == 302  # to the sign-in
    assert CronJob.objects.get().name == "weekly"
    answer = admin.post(address, {"seen": seen}, follow=True)
    assert "nightly is as it was at" in answer.content.decode()
    assert_restored(job)

    reader = Client()
    reader.force_login(person("reader", "view_cronjob"))
    assert reader.get(address).status_code == 403
    page = reader.get(reverse("admin:scheduler_cronjob_history", args=[job.pk]))
    assert "Restore this version" not in page.content.decode()


# --- drift ----------------------------------------------------------------------------------------


def test_every_door_says_who_has_edited_a_job_that_a_file_keeps(api):
    fields = {"cron": "0 3 * * *", "handler": "sample", "params": {"message": "old"}}
    document = Document(value={"jobs": {"nightly": fields}})
    files = JobFiles(actor=Actor(name="ci", door=Door.COMMAND), source="file:jobs.yaml")
    assert not files.apply(document).mistakes
    job = CronJob.objects.get()
    admin = Client()
    admin.force_login(User.objects.create_superuser("ann"))
    page = reverse("admin:scheduler_cronjob_change", args=[job.pk])

    assert "Kept in file:jobs.yaml, applied by ci at" in admin.get(page).content.decode()
    assert ok(api.get(f"/crons/{job.pk}/drift"))["changes"] == []
    assert run("jobs", "show", "nightly", "--json").json["drift"]["changes"] == []

    assert save(admin, job, form_of(admin, job) | {"cron_expression": "0 5 * * *"}).status_code
    html = admin.get(page).content.decode()
    drift = ok(api.get(f"/crons/{job.pk}/drift"))
    shown = run("jobs", "show", "nightly")

    change = {"field": "cron expression", "old": "0 3 * * *", "new": "0 5 * * *"}
    assert "Edited by ann at " in html
    assert "it differs from file:jobs.yaml." in html
    assert (drift["source"], drift["edited_by"]) == ("file:jobs.yaml", "ann")
    assert drift["changes"] == [change]
    assert "edited by ann at " in shown.out
    assert "cron expression: 0 3 * * * -> 0 5 * * *" in shown.out
    assert ok(api.get(f"/crons/{job.pk}"))["source"] == "file:jobs.yaml"
    with translation.override("ko"):
        korean = admin.get(page, headers={"Accept-Language": "ko"}).content.decode()
    assert "file:jobs.yaml" in korean

    files.apply(document)
    assert ok(api.get(f"/crons/{job.pk}/drift"))["changes"] == []
    assert "Edited by ann" not in admin.get(page).content.decode()


@once
def test_drift_hides_parameters_from_who_may_not_see_them(api):
    fields = {"cron": "0 3 * * *", "handler": "sample", "params": {"message": "old"}}
    JobFiles(source="file:a").apply(Document(value={"jobs": {"nightly": fields}}))
    job = CronJob.objects.get()
    BOB.update_job(job.pk, handler_params={"message": "visible-to-few"})
    reader = person("reader", "view_cronjob")
    client = Client()
    client.force_login(reader)

    drift = ok(program(reader).get(f"/crons/{job.pk}/drift"))
    html = client.get(reverse("admin:scheduler_cronjob_change", args=[job.pk])).content.decode()

    assert drift["changes"] == [{"field": "parameters", "old": "hidden", "new": "hidden"}]
    assert "Edited by bob" in html
    assert "visible-to-few" not in html


def test_job_of_no_file_has_no_drift(job, api):
    assert ok(api.get(f"/crons/{job.pk}/drift"))["source"] == ""
    assert run("jobs", "show", "weekly", "--json").json["drift"] is None


def test_yesterdays_state_comes_back(api):
    """What must be shown of the issue: a job is restored to yesterday's state."""
    job = BOB.create_job(name="a", cron_expression="0 3 * * *", handler_name="sample")
    yesterday = database_now() - timedelta(days=1)
    Activity.objects.update(at=yesterday)
    BOB.update_job(job.pk, cron_expression="* * * * *")

    done = run("jobs", "restore", "a", "--at", "23h ago")

    assert done.code == 0, done.err
    job.refresh_from_db()
    assert job.cron_expression == "0 3 * * *"
    assert job.next_run_at
    assert job.next_run_at > job.updated_at
