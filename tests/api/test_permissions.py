"""Every action by users with each permission, through API and admin. docs/permissions.md shows the
result.

`JOBU_TEST_WRITE_DOCS=1` writes the page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse

from scheduler.conf import AlertSettings, current
from scheduler.models import (
    ApiToken,
    CronJob,
    JobExecution,
    RunApproval,
    SchedulerProcess,
)
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.permissions import NEEDED, SCOPE, Action, may
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import approvals
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_run
from tests.api.conftest import (
    Program,
    error_of,
    make_alert,
    make_failure,
    make_freeze,
    make_job,
    ok,
    person,
    program,
)
from tests.harness.system import ROOT

pytestmark = pytest.mark.django_db

PAGE = ROOT / "docs" / "permissions.md"
CANARY = "canary-7c1"
NUMBERS = count()

VIEWER = ("view_cronjob", "view_jobexecution", "view_schedulerprocess", "view_alert")
OPERATOR = (
    *VIEWER, "run_cronjob", "pause_cronjob", "cancel_jobexecution", "retry_jobexecution",
    "add_jobexecution", "change_alert", "pause_queue", "drain_schedulerprocess",
    "change_concurrencygroup",
)  # fmt: skip
EDITOR = (
    *OPERATOR, "add_cronjob", "change_cronjob", "delete_cronjob", "delete_jobexecution",
)  # fmt: skip
ROLES = {"nobody": None, "viewer": VIEWER, "operator": OPERATOR, "editor": EDITOR}
PEOPLE = (*ROLES, "superuser")
TOKENS = tuple(f"token: {scope}" for scope in ApiToken.SCOPES)


def the_job() -> CronJob:
    return CronJob.objects.filter(name="target").first() or make_job(
        name="target", handler_params={"message": CANARY}
    )


def a_run(status: RunStatus) -> JobExecution:
    return make_run(the_job(), status, params={"message": CANARY})


def a_run_that_asks() -> JobExecution:
    """A run that waits until a person approves it."""
    run, now = a_run(RunStatus.PENDING), database_now()
    JobExecution.objects.filter(pk=run.pk).update(
        available_at=approvals.NEVER, reason_code=ReasonCode.AWAITS_APPROVAL
    )
    RunApproval.objects.create(
        execution=run, state="waiting", starts_at=now, expires_at=now + timedelta(days=1)
    )
    return JobExecution.objects.get(pk=run.pk)


class Session(Program):
    """Calls the API with the session of a user."""

    def __init__(self, user: User | None) -> None:
        super().__init__(None)
        if user is not None:
            self.client.force_login(user)


# --- one way through each door for each action ----------------------------------------------------

ApiCall = Callable[[Program], Any]

THROUGH_API: dict[Action, ApiCall] = {
    Action.VIEW_JOBS: lambda api: api.get("/crons"),
    Action.ADD_JOB: lambda api: api.post(
        "/crons",
        {"name": f"new {next(NUMBERS)}", "cron_expression": "@daily", "handler_name": "sample"},
    ),
    Action.CHANGE_JOB: lambda api: api.put(f"/crons/{the_job().pk}", {"description": "x"}),
    Action.DELETE_JOB: lambda api: api.delete(f"/crons/{the_job().pk}"),
    Action.RUN_JOB: lambda api: api.post(f"/crons/{the_job().pk}/run"),
    Action.PAUSE_JOB: lambda api: api.post(f"/crons/{the_job().pk}/pause"),
    Action.VIEW_EXECUTIONS: lambda api: api.get("/jobs"),
    Action.SEND_EVENT: lambda api: api.post("/events", {"handler": "sample"}),
    Action.CANCEL_EXECUTION: lambda api: api.post(f"/jobs/{a_run(RunStatus.PENDING).pk}/cancel"),
    Action.RETRY_EXECUTION: lambda api: api.post(f"/jobs/{a_run(RunStatus.FAILED).pk}/retry"),
    Action.DELETE_EXECUTION: lambda api: api.delete(f"/jobs/{a_run(RunStatus.SUCCESS).pk}"),
    Action.VIEW_PROCESSES: lambda api: api.get("/processes"),
    Action.PAUSE_QUEUE: lambda api: api.post("/queues/pause", {"queue": "x", "reason": "x"}),
    Action.CHANGE_LIMITS: lambda api: api.put(
        "/concurrency-groups", {"name": f"g{next(NUMBERS)}", "max_running": 1}
    ),
    Action.CHANGE_FREEZE: lambda api: api.delete(f"/freezes/{make_freeze().pk}"),
    Action.RUN_IN_FREEZE: lambda api: api.post(
        f"/crons/{the_job().pk}/run", {"despite_freeze": True}
    ),
    Action.APPROVE_EXECUTION: lambda api: api.post(
        f"/jobs/{(run := a_run_that_asks()).pk}/approve", {"digest": digest_of_params(run)}
    ),
    Action.DRAIN_WORKER: lambda api: api.post("/processes/drain", {"name": a_worker()}),
    Action.VIEW_ALERTS: lambda api: api.get("/alerts/channels"),
    Action.CHANGE_ALERT: lambda api: try_channel(api),
}


def a_worker() -> str:
    now = database_now()
    worker = SchedulerProcess.objects.create(
        name=f"worker@host:{next(NUMBERS)}", kind="worker", host="host", pid=1, started_at=now,
        heartbeat_at=now,
    )  # fmt: skip
    return worker.name


def try_channel(api: Program) -> Any:
    mail = {"channels": {"team": {"kind": "mail", "to": ["team@example.com"]}}}
    alerts = AlertSettings.model_validate(mail)
    with override_settings(JOBU=current().model_copy(update={"alerts": alerts})):
        return api.post("/alerts/channels/team/test")


def may_through_api(action: Action, caller: Program) -> bool:
    if action is Action.VIEW_PARAMS:
        shown = caller.get(f"/jobs/{a_run(RunStatus.SUCCESS).pk}")
        return CANARY in shown.content.decode()
    answer = THROUGH_API[action](caller)
    assert answer.status_code in (200, 201, 204, 401, 403), (action, answer.content)
    return answer.status_code < 400


def admin_page(action: Action) -> tuple[str, str] | None:
    """Returns method and address, or None if the admin has no page for it."""

    def job(name: str) -> str:
        return reverse(f"admin:scheduler_cronjob_{name}", args=[the_job().pk])

    def run(name: str, status: RunStatus) -> str:
        return reverse(f"admin:scheduler_jobexecution_{name}", args=[a_run(status).pk])

    pages: dict[Action, Callable[[], tuple[str, str]]] = {
        Action.VIEW_JOBS: lambda: ("get", reverse("admin:scheduler_cronjob_changelist")),
        Action.ADD_JOB: lambda: ("get", reverse("admin:scheduler_cronjob_add")),
        Action.CHANGE_JOB: lambda: ("post", job("change")),
        Action.DELETE_JOB: lambda: ("get", job("delete")),
        Action.RUN_JOB: lambda: ("get", job("run_now")),
        Action.PAUSE_JOB: lambda: ("get", job("pause")),
        Action.VIEW_EXECUTIONS: lambda: ("get", reverse("admin:scheduler_jobexecution_changelist")),
        Action.CANCEL_EXECUTION: lambda: ("get", run("cancel", RunStatus.PENDING)),
        Action.RETRY_EXECUTION: lambda: ("get", run("retry", RunStatus.FAILED)),
        Action.DELETE_EXECUTION: lambda: ("get", run("delete", RunStatus.SUCCESS)),
        Action.VIEW_PROCESSES: lambda: (
            "get", reverse("admin:scheduler_schedulerprocess_changelist"),
        ),
        Action.PAUSE_QUEUE: lambda: ("get", reverse("admin:queue-pause")),
        Action.CHANGE_LIMITS: lambda: ("get", reverse("admin:group-change")),
        Action.CHANGE_FREEZE: lambda: ("get", reverse("admin:freeze", args=[make_freeze().pk])),
        Action.APPROVE_EXECUTION: lambda: (
            "get",
            reverse("admin:scheduler_jobexecution_approve", args=[a_run_that_asks().pk]),
        ),
        Action.VIEW_PARAMS: lambda: ("get", run("change", RunStatus.SUCCESS)),
    }  # fmt: skip
    return pages[action]() if action in pages else None


def may_through_admin(action: Action, user: User | None) -> bool | None:
    page = admin_page(action)
    if page is None:
        return None
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    method, address = page
    answer = getattr(client, method)(address)
    assert answer.status_code in (200, 302, 403), (action, address, answer.status_code)
    if answer.status_code == 302 and "/login/" not in answer.headers["Location"]:
        # The theme leads away from an action that one may not take.
        return False
    if action is Action.VIEW_PARAMS:
        return CANARY in answer.content.decode()
    return bool(answer.status_code == 200)


# --- the walk -------------------------------------------------------------------------------------


def people() -> dict[str, User | None]:
    found: dict[str, User | None] = {
        role: None if names is None else person(role, *names) for role, names in ROLES.items()
    }
    return {**found, "superuser": User.objects.create_superuser("superuser")}


def table(cells: dict[Action, dict[str, bool]]) -> str:
    columns = [*PEOPLE, *TOKENS]
    lines = [
        f"| | permission (one of) | scope | {' | '.join(columns)} |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for action, row in cells.items():
        marks = ["yes" if row[column] else "-" for column in columns]
        needed = ", ".join(f"`{name.removeprefix('scheduler.')}`" for name in NEEDED[action])
        lines.append(f"| {action.value} | {needed} | {SCOPE[action]} | {' | '.join(marks)} |")
    return "\n".join(lines)


def test_api_allows_exactly_the_documented_permissions():
    users = people()
    callers: dict[str, Program] = {name: Session(user) for name, user in users.items()}
    root = users["superuser"]
    assert root is not None
    callers |= {f"token: {scope}": program(root, [scope]) for scope in ApiToken.SCOPES}
    cells: dict[Action, dict[str, bool]] = {}

    for action in Action:
        cells[action] = {name: may_through_api(action, caller) for name, caller in callers.items()}

        for name, user in users.items():
            expected = user is not None and may(user, action)
            # What is seen on a page needs the page, too.
            assert cells[action][name] == expected, (action, name)
    for action in set(Action) - {Action.VIEW_PARAMS}:
        for scope in ApiToken.SCOPES:
            assert cells[action][f"token: {scope}"] == (SCOPE[action] == scope), (action, scope)

    before = PAGE.read_text(encoding="utf-8")
    block = f"<!-- matrix -->\n{table(cells)}\n<!-- /matrix -->"
    after = re.sub(r"<!-- matrix -->.*<!-- /matrix -->", lambda _: block, before, flags=re.DOTALL)
    if os.environ.get("JOBU_TEST_WRITE_DOCS") == "1":
        PAGE.write_text(after, encoding="utf-8")
    assert after == PAGE.read_text(encoding="utf-8"), "docs/permissions.md is stale; see above"


@pytest.mark.parametrize("role", PEOPLE)
def test_admin_allows_exactly_the_same_permissions(role: str):
    user = people()[role]
    found = {action: may_through_admin(action, user) for action in Action}

    wrong = {
        action.value: allowed
        for action, allowed in found.items()
        if allowed is not None and allowed != (user is not None and may(user, action))
    }
    assert wrong == {}


# --- what an action answers -----------------------------------------------------------------------

DAYS = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T23:59:59Z"}
OF_A_RUN, OF_A_JOB = {"id", "status"}, {"id", "is_enabled", "state"}
OF_A_BACKFILL = {"id", "state"}
OF_AN_ALERT = {"id", "state"}
# The address of each verb as it stands in the document, its body, and what one may know who may not
# see the row.
VERBS: dict[str, tuple[Any, set[str]]] = {
    "POST /crons": (
        lambda: {
            "name": f"n{next(NUMBERS)}",
            "cron_expression": "@daily",
            "handler_name": "sample",
        },
        OF_A_JOB | {"warnings"},
    ),
    "PUT /crons/{cron_id}": ({"description": "x"}, OF_A_JOB | {"warnings"}),
    "PATCH /crons/{cron_id}": ({"description": "y"}, OF_A_JOB | {"warnings"}),
    "POST /crons/{cron_id}/toggle": (None, OF_A_JOB),
    "POST /crons/{cron_id}/disable": (None, OF_A_JOB),
    "POST /crons/{cron_id}/enable": (None, OF_A_JOB),
    "POST /crons/{cron_id}/pause": (None, OF_A_JOB),
    "POST /crons/{cron_id}/resume": (None, OF_A_JOB),
    "POST /crons/{cron_id}/run": (None, OF_A_RUN),
    "POST /crons/{cron_id}/backfills/preview": (DAYS, {"total"}),
    "POST /crons/{cron_id}/backfills": (DAYS, OF_A_BACKFILL),
    "POST /backfills/{backfill_id}/pause": (None, OF_A_BACKFILL),
    "POST /backfills/{backfill_id}/resume": (None, OF_A_BACKFILL),
    "POST /backfills/{backfill_id}/cancel": (None, OF_A_BACKFILL),
    "POST /alerts/{alert_id}/acknowledge": (None, OF_AN_ALERT),
    "POST /alerts/{alert_id}/snooze": (
        lambda: {"until": (database_now() + timedelta(days=1)).isoformat()},
        OF_AN_ALERT,
    ),
    "POST /alerts/{alert_id}/unsnooze": (None, OF_AN_ALERT),
    "POST /alerts/{alert_id}/close": (None, OF_AN_ALERT),
    "POST /jobs/{failed_id}/retry": (None, OF_A_RUN),
    "POST /jobs/{waiting_id}/cancel": (None, OF_A_RUN),
    "POST /jobs/{waiting_id}/replay": (None, OF_A_RUN),
    "POST /jobs/{asking_id}/approve": (lambda ids: _seen(ids["asking_id"]), OF_A_RUN),
    "POST /jobs/{unwanted_id}/reject": (lambda ids: _seen(ids["unwanted_id"]), OF_A_RUN),
    "POST /failures/{failure_id}/seen": (None, {"id", "is_open"}),
    "POST /failures/{failure_id}/retry": (None, {"retried", "more"}),
    "POST /events": ({"handler": "sample", "idempotency_key": "k"}, OF_A_RUN),
    "POST /crons/bulk/enable": ("cron_id", {"done", "refused", "items"}),
    "POST /crons/bulk/disable": ("cron_id", {"done", "refused", "items"}),
    "POST /crons/bulk/pause": ("cron_id", {"done", "refused", "items"}),
    "POST /crons/bulk/run": ("cron_id", {"done", "refused", "items"}),
    "POST /jobs/bulk/cancel": ("waiting_id", {"done", "refused", "items"}),
    "POST /jobs/bulk/retry": ("failed_id", {"done", "refused", "items"}),
}


def _seen(execution_id: int) -> dict[str, str]:
    return {"digest": digest_of_params(JobExecution.objects.get(pk=execution_id))}


# Only for those who may see jobs: the copy of one, its versions, and the slots of an expression.
WITH_SIGHT = {
    "POST /crons/{cron_id}/clone",
    "POST /crons/{cron_id}/restore",
    "POST /crons/{cron_id}/switch",
    "POST /crons/preview",
    "POST /freezes",
    "POST /freezes/preview",
    "PATCH /freezes/{freeze_id}",
    "POST /freezes/{freeze_id}/end",
    # A queue is no row of a job: who may pause it gives its name and reason.
    "POST /processes/drain",
    "POST /processes/undrain",
    "POST /queues/pause",
    "POST /queues/resume",
}
OF_NO_ROW = {
    "POST /alerts/channels/{name}/test",
    "PUT /concurrency-groups",
    "POST /concurrency-groups/delete",
}


def test_an_action_tells_those_who_may_not_see_the_row_only_what_they_did():
    root = User.objects.create_superuser("root")
    blind, seeing = program(root, ["operate", "write"]), program(root)
    the_job()  # made before the runs, which name it
    ids = {
        "cron_id": the_job().pk,
        "failed_id": a_run(RunStatus.FAILED).pk,
        "waiting_id": a_run(RunStatus.PENDING).pk,
        "alert_id": make_alert().pk,
        "asking_id": a_run_that_asks().pk,
        "unwanted_id": a_run_that_asks().pk,
        "failure_id": make_failure(),
    }
    # An event of somebody else, with the same key: the run of it is not shown either.
    ok(seeing.post("/events", {"handler": "sample", "idempotency_key": "k"}), 201)

    for verb, (given, known) in VERBS.items():
        method, address = verb.split(" ")
        body = given
        if callable(given):
            body = given(ids) if "ids" in given.__code__.co_varnames else given()
        if isinstance(given, str):
            body = {"ids": [ids[given]]}
        answer = blind.send(method, address.format(**ids), body)
        assert answer.status_code in (200, 201), (verb, answer.content)
        assert set(answer.json()) == known, verb
        assert CANARY not in answer.content.decode(), verb
        if address.endswith("/backfills"):
            ids["backfill_id"] = answer.json()["id"]
    whole = ok(seeing.post(f"/crons/{ids['cron_id']}/run"), 201)
    assert whole["handler_name"] == "sample"

    document = ok(seeing.get("/openapi.json"))["paths"]
    in_document = {
        f"{method.upper()} {address.removeprefix('/api').removeprefix('/v1')}"
        for address, methods in document.items()
        for method in methods
        if method in ("post", "put", "patch")
    }
    named = {re.sub(r"(failed|waiting|asking|unwanted)_id", "execution_id", verb) for verb in VERBS}
    assert in_document - WITH_SIGHT - OF_NO_ROW == named


# --- more than one permission ---------------------------------------------------------------------


def test_clone_requires_permission_to_see_the_job():
    job = the_job()
    url, copy = f"/crons/{job.pk}/clone", {"name": "copy"}

    assert (
        error_of(Session(person("ann", "add_cronjob")).post(url, copy), 403)["code"] == "FORBIDDEN"
    )
    assert CronJob.objects.count() == 1
    ok(Session(person("ben", "add_cronjob", "view_cronjob")).post(url, copy), 201)


def test_user_without_permission_for_params_cannot_replace_them():
    run = a_run(RunStatus.FAILED)
    job = the_job()
    days = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T23:59:59Z"}
    blind = person("ann", "view_cronjob", "view_jobexecution", "run_cronjob")
    seeing = person("ben", "view_cronjob", "view_jobexecution", "run_cronjob", "view_params")

    for url, status in {
        f"/crons/{job.pk}/run": 201,
        f"/jobs/{run.pk}/replay": 201,
        f"/crons/{job.pk}/backfills/preview": 200,
        f"/crons/{job.pk}/backfills": 201,
    }.items():
        given = days if "backfills" in url else {}
        for params in ({}, {"message": "mine"}):
            answer = Session(blind).post(url, {**given, "params": params})
            assert error_of(answer, 403)["code"] == "FORBIDDEN", url
        ok(Session(blind).post(url, given), status)
        # A token for verbs alone sends parameters for a user who may see them.
        ok(program(seeing, ["operate"]).post(url, {**given, "params": {"message": "mine"}}), status)


def test_event_cannot_send_the_secrets_of_a_job_to_another_host_or_handler():
    secret = make_job(name="secret", handler_params={"nested": [{"password": CANARY}]})
    plain = make_job(name="plain", handler_params={"message": "stored"})
    blind = person("ann", "add_jobexecution", "run_cronjob")
    seeing = person("ben", "add_jobexecution", "view_params")
    mine: dict[str, Any] = {"params": {"host": "evil"}}
    other: dict[str, Any] = {"handler": "sample1"}

    for given in (mine, other, mine | other):
        for sender in (Session(blind), program(blind, ["operate"])):
            answer = sender.post("/events", {"job_id": secret.pk, **given})
            assert error_of(answer, 403)["code"] == "FORBIDDEN", given
    assert not JobExecution.objects.exists()

    for given in ({}, {"params": {}}, {"handler": secret.handler_name}):
        ok(Session(blind).post("/events", {"job_id": secret.pk, **given}), 201)
    for given in (mine, other):
        ok(Session(blind).post("/events", {"job_id": plain.pk, **given}), 201)
        ok(Session(blind).post("/events", {"handler": "sample", **given}), 201)
        # A token for verbs alone sends them for a user who may see parameters.
        ok(program(seeing, ["operate"]).post("/events", {"job_id": secret.pk, **given}), 201)
