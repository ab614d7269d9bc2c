"""Freezes, limits, backfills and approvals: each door that writes asks who may, and for the token.

tests/api/test_permissions.py walks the table of permissions with one door for each. Here are all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from scheduler.models import (
    Activity,
    Backfill,
    ConcurrencyGroup,
    CronJob,
    JobExecution,
    JobFreeze,
)
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.permissions import NEEDED, Action
from scheduler.store.connection import database_now
from tests.api.conftest import Program, make_freeze, make_job, program

pytestmark = pytest.mark.django_db

SEES = {Action.VIEW_JOBS, Action.VIEW_EXECUTIONS, Action.VIEW_PARAMS}


class Rows:
    """One row for each door to act on."""

    def __init__(self) -> None:
        self.job = make_job(approval_seconds=3600)
        self.run = Control().run_now(self.job.pk)
        self.freeze = make_freeze()
        self.group = ConcurrencyGroup.objects.create(name="dwh", max_running=1)
        now = database_now()
        self.range = {"since": now - timedelta(days=3), "until": now}
        self.backfill = BackfillControl(may_approve=True).start(
            self.job.pk, since=self.range["since"], until=self.range["until"]
        )
        self.digest = digest_of_params(self.run)

    def state(self) -> list[Any]:
        return [
            list(JobFreeze.objects.order_by("id").values()),
            list(ConcurrencyGroup.objects.order_by("id").values()),
            list(Backfill.objects.order_by("id").values()),
            list(JobExecution.objects.order_by("id").values("status", "reason_code")),
            list(CronJob.objects.order_by("id").values("tick_seq")),
            Activity.objects.count(),
        ]


Post = tuple[Action, str, dict[str, Any]]


def pages(rows: Rows) -> dict[str, Post]:
    """Name -> what it needs, its address and what is sent to it."""
    freeze = {"name": "x", "reason": "r", "hours": "daily 1:00 - 2:00", "blocked_slots": "skip"}
    run, backfill = "admin:scheduler_jobexecution", "admin:scheduler_backfill"
    decision = {"digest": rows.digest, "note": ""}
    of_freeze = [rows.freeze.pk]
    return {
        "freeze-add": (
            Action.CHANGE_FREEZE, reverse("admin:freeze-add"), {**freeze, "save": "1"}
        ),
        "freeze-preview": (
            Action.CHANGE_FREEZE, reverse("admin:freeze-add"), {**freeze, "preview": "1"}
        ),
        "freeze": (
            Action.CHANGE_FREEZE, reverse("admin:freeze", args=of_freeze), {**freeze, "save": "1"}
        ),
        "freeze-end": (Action.CHANGE_FREEZE, reverse("admin:freeze-end", args=of_freeze), {}),
        "freeze-delete": (Action.CHANGE_FREEZE, reverse("admin:freeze-delete", args=of_freeze), {}),
        "group-add": (
            Action.CHANGE_LIMITS, reverse("admin:group-change"), {"name": "g", "max_running": "2"}
        ),
        "group-change": (
            Action.CHANGE_LIMITS, reverse("admin:group-change"),
            {"group": "dwh", "max_running": "2", "seen_at": rows.group.updated_at.isoformat()},
        ),
        "group-delete": (Action.CHANGE_LIMITS, reverse("admin:group-delete"), {"group": "dwh"}),
        "approve": (
            Action.APPROVE_EXECUTION, reverse(f"{run}_approve", args=[rows.run.pk]), decision
        ),
        "reject": (
            Action.APPROVE_EXECUTION, reverse(f"{run}_reject", args=[rows.run.pk]), decision
        ),
        "backfill": (
            Action.RUN_JOB, reverse(f"{backfill}_add") + f"?job={rows.job.pk}",
            {"since_0": "2026-01-01", "since_1": "00:00", "until_0": "2026-01-02",
             "until_1": "00:00", "order": "oldest_first", "parallelism": "1", "start": "1"},
        ),
        "backfill-pause": (
            Action.RUN_JOB, reverse(f"{backfill}_pause", args=[rows.backfill.pk]), {}
        ),
        "backfill-cancel": (
            Action.RUN_JOB, reverse(f"{backfill}_cancel", args=[rows.backfill.pk]), {}
        ),
    }  # fmt: skip


def calls(rows: Rows) -> dict[str, tuple[Action, Callable[[Program], Any]]]:
    times = {"hours": "daily 1:00 - 2:00"}
    freeze, run, backfill = (
        f"/freezes/{rows.freeze.pk}", f"/jobs/{rows.run.pk}", f"/backfills/{rows.backfill.pk}",
    )  # fmt: skip
    span = {name: at.isoformat() for name, at in rows.range.items()}
    made = {"name": "x", "reason": "r", **times}
    group, decision = {"name": "dwh", "max_running": 2}, {"digest": rows.digest}
    return {
        "freeze-add": (Action.CHANGE_FREEZE, lambda api: api.post("/freezes", made)),
        "freeze-change": (
            Action.CHANGE_FREEZE, lambda api: api.send("PATCH", freeze, {"reason": "x"})
        ),
        "freeze-end": (Action.CHANGE_FREEZE, lambda api: api.post(f"{freeze}/end")),
        "freeze-delete": (Action.CHANGE_FREEZE, lambda api: api.delete(freeze)),
        "group": (Action.CHANGE_LIMITS, lambda api: api.put("/concurrency-groups", group)),
        "group-delete": (
            Action.CHANGE_LIMITS,
            lambda api: api.post("/concurrency-groups/delete", {"name": "dwh"}),
        ),
        "approve": (
            Action.APPROVE_EXECUTION, lambda api: api.post(f"{run}/approve", decision)
        ),
        "reject": (Action.APPROVE_EXECUTION, lambda api: api.post(f"{run}/reject", decision)),
        "backfill": (
            Action.RUN_JOB, lambda api: api.post(f"/crons/{rows.job.pk}/backfills", span)
        ),
        "backfill-pause": (Action.RUN_JOB, lambda api: api.post(f"{backfill}/pause")),
        "backfill-resume": (Action.RUN_JOB, lambda api: api.post(f"{backfill}/resume")),
        "backfill-cancel": (Action.RUN_JOB, lambda api: api.post(f"{backfill}/cancel")),
    }  # fmt: skip


def person(name: str, actions: set[Action]) -> User:
    user = User.objects.create_user(name, is_staff=True)
    names = [each.partition(".")[2] for action in actions for each in NEEDED[action]]
    # `change_...` would also allow to run, pause or see.
    wanted = [n for n in names if not n.startswith("change_cron") and n != "change_jobexecution"]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    return user


def test_each_page_that_writes_asks_who_may_and_for_the_token():
    rows = Rows()
    before = rows.state()
    for name, (action, address, given) in pages(rows).items():
        everything_else = set(Action) - {
            action, Action.CHANGE_JOB, Action.VIEW_ALERTS, Action.CHANGE_ALERT,
        }  # fmt: skip
        for who, actions in (("viewer", SEES), ("other", everything_else)):
            client = Client(raise_request_exception=False)
            client.force_login(person(f"{who} {name}", actions))
            answer = client.post(address, given)
            assert answer.status_code in (302, 403), (name, who, answer.status_code)
        strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
        strict.force_login(User.objects.create_superuser(f"root {name}"))
        assert strict.post(address, given).status_code == 403, name
        stranger = Client().post(address, given)
        assert "/login/" in stranger.headers["Location"], name
        assert rows.state() == before, name
        assert Client().get(address).status_code in (302, 405)


def test_each_call_that_writes_asks_who_may():
    rows = Rows()
    before = rows.state()
    for name, (action, call) in calls(rows).items():
        everything_else = set(Action) - {
            action, Action.CHANGE_JOB, Action.VIEW_ALERTS, Action.CHANGE_ALERT,
        }  # fmt: skip
        for who, actions in (("viewer", SEES), ("other", everything_else)):
            answer = call(program(person(f"{who} {name}", actions)))
            assert answer.status_code == 403, (name, who, answer.content)
        reader = program(User.objects.create_superuser(f"root {name}"), ["read"])
        assert call(reader).status_code == 403, name
        assert call(Program(None)).status_code == 401, name
        assert rows.state()[:-1] == before[:-1], name


def test_whoever_may_act_can_act_so_the_doors_above_were_open():
    rows = Rows()
    root = User.objects.create_superuser("root")
    for name in ("approve", "freeze-change", "group", "backfill-pause", "backfill-resume"):
        _action, call = calls(rows)[name]
        assert call(program(root)).status_code == 200, name
    client = Client()
    client.force_login(root)
    for name in ("freeze-add", "freeze-delete", "group-add", "backfill-cancel", "backfill"):
        _action, address, given = pages(rows)[name]
        before = rows.state()
        assert client.post(address, given).status_code == 302, name
        assert rows.state() != before, name
