"""Callers of the API: users with sessions and programs with tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from scheduler.alert_states import AlertKind
from scheduler.models import (
    Alert,
    ApiToken,
    CronJob,
    FailedRun,
    FailureGroup,
    JobExecution,
    JobFreeze,
)
from scheduler.operations.control import Control
from scheduler.operations.keys import TokenControl
from scheduler.states import RunStatus
from scheduler.store.connection import database_now

_NUMBERS = count()


class Program:
    """Calls the API with a token, or with none."""

    def __init__(self, key: str | None, prefix: str = "/api") -> None:
        self.key = key
        self.prefix = prefix
        self.client = Client(raise_request_exception=False)

    def send(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: Any
    ) -> Any:
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        options: dict[str, Any] = {"headers": headers}
        if method != "GET":
            options |= {"data": data, "content_type": "application/json" if data else ""}
        address = path if path.startswith(("/api", "/metrics")) else self.prefix + path
        return getattr(self.client, method.lower())(address, **options)

    def get(self, path: str, **headers: Any) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: Any) -> Any:
        return self.send("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: Any) -> Any:
        return self.send("PUT", path, body, **headers)

    def delete(self, path: str, **headers: Any) -> Any:
        return self.send("DELETE", path, **headers)


def person(name: str, *codenames: str, **values: Any) -> User:
    user = User.objects.create_user(name, is_staff=True, **values)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def program(user: User, scopes: Sequence[str] = ApiToken.SCOPES, **values: Any) -> Program:
    return Program(TokenControl().create(user, "a program", scopes, **values)[1])


@pytest.fixture
def alice(db: None) -> User:
    """A user with every permission."""
    return User.objects.create_superuser("alice")


@pytest.fixture
def api(alice: User) -> Program:
    return program(alice)


@pytest.fixture
def job(db: None) -> CronJob:
    return make_job()


def make_job(**values: Any) -> CronJob:
    given = {"name": "report", "cron_expression": "0 3 * * *", "handler_name": "sample", **values}
    return Control().create_job(**given)


def make_alert(**values: Any) -> Alert:
    now = database_now()
    given = {
        "kind": AlertKind.FAILED.value,
        "subject_key": "job:7",
        "open_key": f"{AlertKind.FAILED}:job:7",
        "opened_at": now,
        "last_seen_at": now,
        **values,
    }
    Alert.objects.bulk_create([Alert(**given)])
    return Alert.objects.latest("id")


def make_freeze() -> JobFreeze:
    """One of another job's tag, in the future."""
    now = database_now()
    return JobFreeze.objects.create(
        name=f"freeze {next(_NUMBERS)}",
        reason="r",
        since=now + timedelta(days=1),
        until=now + timedelta(days=2),
        tags=["other"],
    )


def make_failure(job: CronJob | None = None, **values: Any) -> int:
    """A kind of failures with one run that was not retried; its id."""
    now = database_now()
    run = JobExecution.objects.create(
        job=job, handler_name="sample", scheduled_time=now + timedelta(seconds=next(_NUMBERS)),
        status=RunStatus.FAILED, finished_at=now, error_message="no order 7",
    )  # fmt: skip
    given: dict[str, Any] = {
        "text": "no order <n>", "example": "no order 7", "runs": 1, "first_at": now, "last_at": now,
    }  # fmt: skip
    group = FailureGroup.objects.create(
        fingerprint=f"f{next(_NUMBERS)}", handler_name="sample", last_execution_id=run.pk,
        **{**given, **values},
    )  # fmt: skip
    FailedRun.objects.create(execution=run, group=group)
    return group.pk


def error_of(response: Any, status: int) -> dict[str, Any]:
    """Returns the error of an answer, and checks its format."""
    assert response.status_code == status, (response.status_code, response.content)
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "fields"}
    assert error["message"]
    return error


def ok(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, (response.status_code, response.content)
    return response.json() if response.content else None
