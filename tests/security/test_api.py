"""The same attacks on the API. The operations come from its OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from scheduler.models import ApiToken, CronJob
from scheduler.operations.keys import TokenControl
from tests.security.attacks import LOOKUPS, MARK, SECRET, SECRETS, SQL
from tests.security.conftest import Rows, counts, fill

pytestmark = pytest.mark.django_db


def operations(client: Client, rows: Rows) -> list[tuple[str, str, list[str]]]:
    """Returns (method, address, query names) of each operation, with existing rows as arguments."""
    schema = client.get("/api/openapi.json").json()
    found = []
    for path, methods in schema["paths"].items():
        key = rows.executions[0].pk if "/jobs" in path else rows.job.pk
        if "backfill_id" in path:
            key = rows.by_model["scheduler/backfill"].pk
        while "{" in path:
            path = path[: path.index("{")] + str(key) + path[path.index("}") + 1 :]
        for method, operation in methods.items():
            names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
            found.append((method.upper(), path, names))
    return found


def test_a_session_needs_the_csrf_token_for_every_change(admin, alice):
    rows = fill(alice, "plain")
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(alice)
    changes = [entry for entry in operations(admin, rows) if entry[0] != "GET"]
    assert len(changes) >= 10
    before = counts()
    for method, path, _ in changes:
        response = client.generic(method, path, "{}", content_type="application/json")
        assert response.status_code == 403, (method, path, response.content)
    assert counts() == before


def test_requests_without_a_valid_token_are_refused(admin, alice):
    rows = fill(alice, "row-canary")
    client = Client(raise_request_exception=False)
    for headers in ({}, {"Authorization": "Bearer jobu_' OR 1=1"}, {"Authorization": "Bearer "}):
        for method, path, _ in operations(admin, rows):
            response = client.generic(
                method, path, "{}", content_type="application/json", headers=headers
            )
            if path.rsplit("/", 1)[-1] in ("health", "ready"):
                continue
            assert response.status_code == 401, (method, path, response.status_code)
            assert b"row-canary" not in response.content


def test_no_secret_is_in_any_answer(admin, alice):
    rows = fill(alice, "plain", SECRETS)
    asked = 0
    for method, path, _ in operations(admin, rows):
        if method == "GET":
            response = admin.get(path)
            assert response.status_code < 500, path
            assert SECRET not in response.content.decode(), path
            asked += 1
    assert asked >= 5
    assert SECRET not in admin.get("/metrics").content.decode()


def test_a_refusal_does_not_repeat_the_secret(admin):
    sent = {
        "name": "n", "cron_expression": "@daily", "handler_name": "sample",
        "handler_params": {**SECRETS, "sleep_seconds": SECRET},
    }  # fmt: skip
    response = admin.post("/api/crons", json.dumps(sent), content_type="application/json")
    assert response.status_code == 400
    assert SECRET not in response.content.decode()
    assert not CronJob.objects.exists()


def test_token_is_stored_only_as_a_hash(alice):
    _, key = TokenControl().create(alice, "a program", ApiToken.SCOPES)
    assert key not in str(list(ApiToken.objects.values()))


@pytest.mark.database
def test_text_of_filters_is_never_part_of_an_sql_statement(admin, alice):
    rows = fill(alice, "plain")
    before = counts()
    statements: list[str] = []

    def remember(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    reads = [(path, names) for method, path, names in operations(admin, rows) if method == "GET"]
    # Which texts reach a statement is the same on each database. Theirs are those with their words
    # and the backslash, by which MySQL would end a quote.
    texts = SQL[:8] if connection.vendor == "sqlite" else SQL[6:9]
    tried = [(path, {name: text}) for path, names in reads for name in names for text in texts]
    tried += [(path, {lookup: SECRET}) for path, _ in reads for lookup in LOOKUPS[:8]]
    with connection.execute_wrapper(remember):
        for path, query in tried:
            response = admin.get(path, query)
            assert response.status_code < 500, (path, query, response.content)
            assert SECRET not in response.content.decode()
    assert [sql for sql in statements if MARK in sql] == []
    assert counts() == before


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"\xff\xfe",
        b'{"name": NaN}',
        json.dumps({"name": "x" * 2_000_000}).encode(),
        json.dumps({"name": "n", "handler_params": {str(n): n for n in range(30_000)}}).encode(),
        b'{"name": "a", "name": "b"}',
        b"",
        b"null",
    ],
    ids=lambda body: f"{body[:12]!r}",
)
def test_a_hostile_body_is_refused(admin, body):
    response = admin.post("/api/crons", body, content_type="application/json")
    assert response.status_code in (400, 413, 415, 422), response.content[:200]
    assert len(response.content) < 10_000
    assert not CronJob.objects.exists()
