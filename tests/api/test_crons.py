"""/api/crons: programs read and change jobs."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.history import changes_of
from scheduler.operations.masking import MASK
from scheduler.store import jobs
from tests.api.conftest import Program, error_of, make_job, ok, person, program

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database

NEW = {"name": "nightly", "cron_expression": "30 2 * * *", "handler_name": "sample"}


# --- making, reading, changing, deleting ----------------------------------------------------------


@pytest.mark.parametrize("name", [" report", "report ", "report\u3000"])
def test_a_name_with_a_blank_at_its_end_is_refused(api: Program, name: str):
    made = ok(api.post("/crons", NEW), 201)
    for answer in (
        api.post("/crons", {**NEW, "name": name}),
        api.put(f"/crons/{made['id']}", {"name": name}),
        api.post(f"/crons/{made['id']}/clone", {"name": name}),
    ):
        (problem,) = error_of(answer, 400)["fields"]["name"]
        assert problem.startswith("must not begin or end with a blank (U+")


def test_a_misspelt_parameter_is_saved_with_a_warning(api: Program):
    made = ok(api.post("/crons", {**NEW, "handler_params": {"mesage": "hi"}}), 201)

    assert made["warnings"] == ["The handler has no parameter 'mesage' (did you mean 'message'?)"]


@on_each_database
def test_job_is_created_read_changed_and_deleted(api: Program):
    made = ok(api.post("/crons", {**NEW, "handler_params": {"message": "hi"}}), 201)
    assert made["is_enabled"] is True
    assert made["allow_overlap"] is True
    assert made["overlap_policy"] == "allow"
    assert made["state"] == "enabled"
    assert made["max_retry"] == 3
    assert made["timeout_seconds"] == 3600
    assert made["created_at"].endswith("Z")
    assert made["warnings"] == []

    url = f"/crons/{made['id']}"
    assert ok(api.get(url)) == {k: v for k, v in made.items() if k != "warnings"}

    changed = ok(api.put(url, {"cron_expression": "@hourly", "allow_overlap": False}))
    assert changed["cron_expression"] == "@hourly"
    assert changed["overlap_policy"] == "skip"
    assert changed["allow_overlap"] is False
    assert changed["handler_params"] == {"message": "hi"}
    assert changed["name"] == "nightly"

    assert ok(api.delete(url), 204) is None
    assert error_of(api.get(url), 404)["code"] == "CRON_NOT_FOUND"


def test_history_of_a_deleted_job_can_be_read(api: Program, alice):
    made = ok(api.post("/crons", NEW), 201)
    ok(api.put(f"/crons/{made['id']}", {"description": "new"}))
    ok(api.post(f"/crons/{made['id']}/pause", {"reason": "release"}))
    ok(api.delete(f"/crons/{made['id']}"), 204)

    entries = ok(api.get(f"/crons/{made['id']}/history"))["items"]
    assert [(e["verb"], e["text"]) for e in entries] == [
        ("deleted", "Deleted"),
        ("paused", "Paused: release"),
        ("changed", "Changed description"),
        ("created", "Created"),
    ]
    assert {(e["actor"], e["user_id"], e["door"], e["facts"]["token"]) for e in entries} == {
        ("alice", str(alice.pk), "api", "a program")
    }


def test_history_has_old_and_new_value_of_each_change(api: Program, alice):
    job = make_job(handler_params={"password": "old"}, priority=1)

    ok(api.put(f"/crons/{job.pk}", {"priority": 5, "handler_params": {"password": "new"}}))

    changes = changes_of(Activity.objects.get(verb="changed"), sees_params=True)
    changed = {each.field: (each.old, each.new) for each in changes}
    assert changed == {"priority": ("1", "5"), "parameters: password": (MASK, MASK)}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_missing_job_returns_404(api: Program, method: str):
    body = {"description": "x"} if method == "PUT" else None
    assert error_of(api.send(method, "/crons/999999", body), 404)["code"] == "CRON_NOT_FOUND"


@pytest.mark.parametrize(
    "verb", ["toggle", "enable", "disable", "pause", "resume", "run", "backfills"]
)
def test_action_on_a_missing_job_returns_404(api: Program, verb: str):
    body = None
    if verb == "backfills":
        body = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    assert error_of(api.post(f"/crons/999999/{verb}", body), 404)["code"] == "CRON_NOT_FOUND"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cron_expression": "61 * * * *"}, "cron_expression"),
        ({"cron_expression": "* * * * * *"}, "cron_expression"),  # every second: too often
        ({"cron_expression": "0 0 30 2 *"}, "cron_expression"),  # never
        ({"cron_expression": ""}, "cron_expression"),
        ({"cron_expression": "0 0 1 1 *" + " " * 100}, "cron_expression"),
        ({"timezone": "Asia/Soul"}, "timezone"),
        ({"calendar": "nowhere"}, "calendar"),
        ({"handler_name": "nobody"}, "handler_name"),
        ({"handler_params": []}, "handler_params"),
        ({"handler_params": "{}"}, "handler_params"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": 5}, "name"),
        ({"description": "d" * 501}, "description"),
        ({"max_retry": 11}, "max_retry"),
        ({"max_retry": -1}, "max_retry"),
        ({"max_retry": 1.5}, "max_retry"),
        ({"max_retry": True}, "max_retry"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 86401}, "timeout_seconds"),
        ({"timeout_seconds": 2**70}, "timeout_seconds"),
        ({"is_enabled": "yes"}, "is_enabled"),
        ({"overlap_policy": "maybe"}, "overlap_policy"),
        ({"overlap_policy": "allow", "allow_overlap": False}, "allow_overlap"),
        ({"start_at": "2026-01-01T00:00:00"}, "start_at"),
        ({"start_at": "soon"}, "start_at"),
        ({"start_at": 1767225600}, "start_at"),
        ({"start_at": "0001-01-01T00:00:00+09:00"}, "start_at"),
        ({"start_at": "2031-01-01T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, "end_at"),
        ({"queue": "no spaces"}, "queue"),
        ({"tick_seq_": 1}, "tick_seq_"),
        ({"id": 5}, "id"),
        ({"next_run_at": None}, "next_run_at"),
        ({"handler_params": {"password": MASK}}, "handler_params"),
    ],
)
def test_bad_input_is_refused_at_its_field_and_nothing_is_saved(
    api: Program, given: dict[str, Any], field: str
):
    error = error_of(api.post("/crons", {**NEW, **given}), 400)

    assert error["code"] == "VALIDATION_ERROR"
    assert list(error["fields"]) == [field]
    assert CronJob.objects.count() == 0


@on_each_database
def test_used_name_is_a_conflict(api: Program, job: CronJob):
    other = make_job(name="other")

    assert error_of(api.post("/crons", {**NEW, "name": "report"}), 409)["code"] == "DUPLICATE_NAME"
    taken = error_of(api.put(f"/crons/{other.pk}", {"name": "report"}), 409)
    assert taken["fields"].keys() == {"name"}
    assert error_of(api.post(f"/crons/{job.pk}/clone", {"name": "other"}), 409)
    assert CronJob.objects.count() == 2


def test_an_old_tick_seq_or_etag_is_a_conflict(api: Program, job: CronJob):
    url = f"/crons/{job.pk}"
    read = api.get(url)
    tag = read.headers["ETag"]
    assert tag == f'"{read.json()["tick_seq"]}"'

    changed = api.put(url, {"description": "first"}, **{"If-Match": tag})
    assert ok(changed)["tick_seq"] > read.json()["tick_seq"]
    assert changed.headers["ETag"] != tag

    old = {"If-Match": tag}
    assert error_of(api.put(url, {"description": "second"}, **old), 409)["code"] == "STALE_EDIT"
    body = {"description": "second", "tick_seq": read.json()["tick_seq"]}
    assert error_of(api.put(url, body), 409)["code"] == "STALE_EDIT"
    assert error_of(api.put(url, body, **{"If-Match": '"x"'}), 400)["fields"].keys() == {"If-Match"}
    assert CronJob.objects.get().description == "first"

    ok(api.put(url, {"description": "second"}, **{"If-Match": "*"}))


def test_patch_works_like_put(api: Program, job: CronJob):
    assert ok(api.send("PATCH", f"/crons/{job.pk}", {"priority": 5}))["priority"] == 5


def test_secrets_are_masked_and_a_mask_sent_back_keeps_the_secret(api: Program):
    job = make_job(handler_params={"password": "hunter2", "name": "x"})

    assert ok(api.get(f"/crons/{job.pk}"))["handler_params"] == {"password": MASK, "name": "x"}
    ok(api.put(f"/crons/{job.pk}", {"handler_params": {"password": MASK, "name": "y"}}))
    job.refresh_from_db()
    assert job.handler_params == {"password": "hunter2", "name": "y"}


def test_mask_keeps_a_secret_that_was_changed_just_before_saving(
    api: Program, monkeypatch: pytest.MonkeyPatch
):
    job = make_job(handler_params={"password": "hunter2"})
    lock = jobs.lock_job

    def somebody_else_was_just_before(job_id: int) -> CronJob:
        CronJob.objects.filter(pk=job_id).update(handler_params={"password": "newer"})
        return lock(job_id)

    monkeypatch.setattr(jobs, "lock_job", somebody_else_was_just_before)

    ok(api.put(f"/crons/{job.pk}", {"handler_params": {"password": MASK, "name": "y"}}))
    job.refresh_from_db()
    assert job.handler_params == {"password": "newer", "name": "y"}


def test_parameters_are_null_without_permission(job: CronJob):
    viewer = program(person("vera", "view_cronjob"))

    assert ok(viewer.get(f"/crons/{job.pk}"))["handler_params"] is None
    assert [item["handler_params"] for item in ok(viewer.get("/crons"))["items"]] == [None]


# --- lists ----------------------------------------------------------------------------------


@on_each_database
def test_pages_by_number(api: Program):
    for number in range(5):
        make_job(name=f"job {number}", is_enabled=number != 3)

    first = ok(api.get("/crons?size=2"))
    assert [item["name"] for item in first["items"]] == ["job 0", "job 1"]
    assert {k: v for k, v in first.items() if k not in ("items", "next_cursor")} == {
        "total": 5, "total_is_capped": False, "page": 1, "size": 2, "pages": 3,
    }  # fmt: skip
    last = ok(api.get("/crons?size=2&page=3"))
    assert [item["name"] for item in last["items"]] == ["job 4"]
    assert last["next_cursor"] is None
    assert ok(api.get("/crons?page=9"))["items"] == []
    assert [i["name"] for i in ok(api.get("/crons?is_enabled=false"))["items"]] == ["job 3"]
    assert ok(api.get("/crons?is_enabled=true"))["total"] == 4
    assert ok(api.get("/crons?name=JOB%202"))["total"] == 1
    assert ok(api.get("/crons?handler=nobody"))["total"] == 0


def test_pages_by_cursor_show_each_job_once(api: Program):
    for number in range(5):
        make_job(name=f"job {number}")
    names, cursor = [], ""

    while cursor is not None:
        answer = ok(api.get(f"/crons?size=2{cursor and '&cursor=' + cursor}"))
        names += [item["name"] for item in answer["items"]]
        cursor = answer["next_cursor"]

    assert names == [f"job {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"), ("page=-1", "page"), ("page=x", "page"), ("size=0", "size"),
        ("size=101", "size"), ("size=1000000000", "size"), ("page=9999&size=100", "page"),
        ("cursor=nonsense", "cursor"), ("is_enabled=maybe", "is_enabled"),
        ("stauts=FAILED", "stauts"), ("name=%00", "name"),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_at_its_field(api: Program, query: str, field: str):
    assert list(error_of(api.get(f"/crons?{query}"), 400)["fields"]) == [field]


# --- verbs ----------------------------------------------------------------------------------


@on_each_database
def test_job_is_enabled_disabled_paused_and_resumed(api: Program, job: CronJob):
    url = f"/crons/{job.pk}"

    assert ok(api.post(f"{url}/toggle"))["state"] == "disabled"
    assert ok(api.post(f"{url}/toggle"))["state"] == "enabled"
    assert ok(api.post(f"{url}/disable"))["is_enabled"] is False
    assert ok(api.post(f"{url}/enable"))["is_enabled"] is True
    until = "2030-01-01T00:00:00Z"
    paused = ok(api.post(f"{url}/pause", {"reason": "release", "until": until}))
    assert (paused["state"], paused["pause_reason"]) == ("paused", "release")
    assert paused["paused_until"] == until
    assert ok(api.get(f"{url}/missed"))["count"] == 0
    assert ok(api.post(f"{url}/resume", {"missed": "latest"}))["state"] == "enabled"
    assert ok(api.post(f"{url}/pause"))["state"] == "disabled"  # no reason, no end


def test_wrong_choice_of_missed_slots_or_pause_end_is_refused(api: Program, job: CronJob):
    wrong = error_of(api.post(f"/crons/{job.pk}/enable", {"missed": "some"}), 400)
    assert list(wrong["fields"]) == ["missed"]
    past = {"until": "2001-01-01T00:00:00Z"}
    assert error_of(api.post(f"/crons/{job.pk}/pause", past), 400)["fields"]


@on_each_database
def test_a_job_is_run_now_with_its_parameters_or_others(api: Program, job: CronJob, alice):
    CronJob.objects.filter(pk=job.pk).update(handler_params={"message": "stored"})

    run = ok(api.post(f"/crons/{job.pk}/run"), 201)
    assert run["status"] == "PENDING"
    assert run["param_source"] == "manual"
    assert run["params"] == {"message": "stored"}
    assert run["requested_by"] == "alice"
    assert run["job_id"] == job.pk
    other = ok(api.post(f"/crons/{job.pk}/run", {"params": {"message": "given"}}), 201)
    assert other["params"] == {"message": "given"}
    assert JobExecution.objects.count() == 2
    assert error_of(api.post(f"/crons/{job.pk}/run", {"params": [1]}), 400)["fields"]
    assert Activity.objects.filter(verb="run", target_id=job.pk).count() == 2


def test_masked_parameter_of_a_run_uses_the_secret_of_the_job(api: Program):
    job = make_job(handler_params={"password": "hunter2", "message": "x"})

    given = {"params": {"password": MASK, "message": "y"}}
    run = ok(api.post(f"/crons/{job.pk}/run", given), 201)
    event = ok(api.post("/events", {"job_id": job.pk, **given}), 201)
    for made in (run, event):
        stored = JobExecution.objects.get(pk=made["id"]).params
        assert stored == {"password": "hunter2", "message": "y"}
    for url in (f"/crons/{job.pk}/run", "/events"):
        unknown = {"params": {"token": MASK}} | ({} if "run" in url else {"handler": "sample"})
        assert list(error_of(api.post(url, unknown), 400)["fields"]) == ["params"]
    assert JobExecution.objects.count() == 2


def test_a_copy_is_disabled(api: Program, job: CronJob):
    copy = ok(api.post(f"/crons/{job.pk}/clone", {"name": "copy"}), 201)

    assert copy["id"] != job.pk
    assert copy["is_enabled"] is False
    assert copy["cron_expression"] == job.cron_expression


def test_the_next_slots_of_a_job(api: Program, job: CronJob):
    answer = ok(api.get(f"/crons/{job.pk}/next?count=3"))

    assert len(answer["slots"]) == 3
    assert answer["timezone"] == "Asia/Seoul"
    assert all("T03:00:00+09:00" in slot["local"] for slot in answer["slots"])
    assert all("T18:00:00Z" in slot["utc"] for slot in answer["slots"])
    assert answer["words"]
    assert error_of(api.get(f"/crons/{job.pk}/next?count=101"), 400)["fields"]


def test_each_kind_of_schedule_is_explained_and_saved(api: Program, job: CronJob):
    text = "every 10 days at 09:00 from 2026-01-01\nDTSTART:20260101T120000\nRRULE:FREQ=MONTHLY"
    given = {"cron_expression": text, "timezone": "Asia/Seoul", "count": 5}
    answer = ok(api.post("/crons/preview", given))
    saved = ok(api.put(f"/crons/{job.pk}", {"cron_expression": text}))

    assert {slot["local"][11:16] for slot in answer["slots"]} == {"09:00", "12:00"}
    assert answer["words"].startswith("Every 10 days at 09:00, counted from 2026-01-01; ")
    assert saved["cron_expression"] == text
    bad = error_of(api.put(f"/crons/{job.pk}", {"cron_expression": "sunset"}), 400)
    assert "times of the sun" in bad["fields"]["cron_expression"][0]


def test_a_name_decides_the_times_of_h(api: Program, job: CronJob):
    given = {"cron_expression": "H H * * *", "timezone": "UTC", "count": 1}
    edit = {"cron_expression": "H H * * *", "timezone": "UTC", "name": "nightly report"}
    saved = ok(api.put(f"/crons/{job.pk}", edit))
    answer = ok(api.post("/crons/preview", {**given, "name": "nightly report"}))

    assert answer["words"] == "Every day at 05:13, spread by the job's name"
    assert answer["slots"][0]["local"][11:16] == "05:13"
    assert saved["cron_expression"] == "H H * * *"
    assert saved["next_run_at"] == answer["slots"][0]["utc"]
    bad = error_of(api.post("/crons/preview", given), 400)
    assert "becomes a number by the job's name" in bad["fields"]["cron_expression"][0]


def test_an_expression_is_explained_before_it_is_used(api: Program):
    given = {"cron_expression": "0 18 * * 1-5", "timezone": "UTC", "count": 2}
    answer = ok(api.post("/crons/preview", given))

    assert len(answer["slots"]) == 2
    assert "18:00" in answer["words"]
    assert {slot["moved_from"] for slot in answer["slots"]} == {None}
    moved = {**given, "cron_expression": "0 9 * * SAT", "calendar": "kr:previous", "count": 1}
    (slot,) = ok(api.post("/crons/preview", moved))["slots"]
    assert slot["local"][:10] < slot["moved_from"]
    assert date.fromisoformat(slot["moved_from"]).strftime("%a") == "Sat"
    bad = error_of(api.post("/crons/preview", {"cron_expression": "0 25 * * *"}), 400)
    assert list(bad["fields"]) == ["cron_expression"]
    bad = error_of(api.post("/crons/preview", {**given, "timezone": "Mars/Base"}), 400)
    assert list(bad["fields"]) == ["timezone"]
    assert CronJob.objects.count() == 0


# --- several at once ------------------------------------------------------------------------


@on_each_database
def test_bulk_action_reports_the_outcome_of_each_job(api: Program, job: CronJob):
    other = make_job(name="other")
    ids = [job.pk, 999999, other.pk, job.pk]

    for verb, body in (("disable", {}), ("enable", {}), ("pause", {"reason": "release"})):
        answer = ok(api.post(f"/crons/bulk/{verb}", {"ids": ids, **body}))
        assert (answer["done"], answer["refused"]) == (2, 1)
        assert [item["id"] for item in answer["items"]] == [job.pk, 999999, other.pk]
        assert answer["items"][1]["error"]["code"] == "CRON_NOT_FOUND"
    assert set(CronJob.objects.values_list("pause_reason", flat=True)) == {"release"}

    runs = ok(api.post("/crons/bulk/run", {"ids": ids}))
    assert runs["done"] == 2
    assert {item["execution_id"] for item in runs["items"] if item["ok"]} == set(
        JobExecution.objects.values_list("id", flat=True)
    )


@pytest.mark.parametrize("ids", [[], ["1"], [0], [-1], [1.5], [2**63], "1", None, [True]])
def test_ids_must_be_ids(api: Program, ids: Any):
    assert error_of(api.post("/crons/bulk/run", {"ids": ids}), 400)["fields"]


def test_five_hundred_at_once_and_no_more(api: Program):
    assert ok(api.post("/crons/bulk/enable", {"ids": list(range(900_001, 900_501))}))
    assert error_of(api.post("/crons/bulk/enable", {"ids": list(range(1, 502))}), 400)


def test_owner_and_tags_are_set_cleared_and_searched(api: Program):
    given = {**NEW, "name": "a", "owner": "alice", "tags": ["x", "pay"]}
    made = ok(api.post("/crons", given), 201)
    ok(api.post("/crons", {**NEW, "name": "b"}), 201)
    assert (made["owner"], made["tags"]) == ("alice", ["pay", "x"])

    changed = ok(api.put(f"/crons/{made['id']}", {"tags": []}))

    assert (changed["owner"], changed["tags"]) == ("alice", [])
    found = ok(api.get("/crons?search=ALI"))["items"]
    assert [each["name"] for each in found] == ["a"]
    assert api.put(f"/crons/{made['id']}", {"tags": ["a,b"]}).status_code == 400
