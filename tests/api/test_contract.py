"""The API follows its OpenAPI document: generated calls get matching answers, never 5xx."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core import signals
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobu_project.wsgi import application
from scheduler.models import Backfill, JobAttempt, JobLog
from scheduler.operations.keys import TokenControl
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_run
from tests.api.conftest import make_job

pytestmark = [pytest.mark.django_db]

_IS_SLOW = os.environ.get("JOBU_TEST_SLOW") == "1"  # script/test --slow
EXAMPLES = int(os.environ.get("JOBU_TEST_EXAMPLES") or (6 if _IS_SLOW else 3))
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture
def key() -> str:
    return TokenControl().create(
        User.objects.create_superuser("alice"), "fuzz", ["read", "operate", "write"]
    )[1]


@pytest.fixture
def one_transaction(db: None) -> Iterator[None]:
    """Keeps the connection open at the end of a request: the test's transaction needs it."""
    ends = (signals.request_started, signals.request_finished)
    for end in ends:
        end.disconnect(close_old_connections)
    yield
    for end in ends:
        end.connect(close_old_connections)


@pytest.fixture
def world() -> dict[str, int]:
    """Creates one row of each kind, so that many calls find something."""
    now = database_now()
    job = make_job(handler_params={"message": "hi"})
    run = make_run(job, RunStatus.FAILED, result={"count": 1}, error_message="wrong")
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="t", started_at=now, ended_at=now, outcome="FAILED"
    )
    JobLog.objects.create(execution=run, attempt=1, seq=0, at=now, level="INFO", message="m")
    backfill = Backfill.objects.create(job=job, since=now, until=now, total=1)
    return {"cron_id": job.pk, "execution_id": run.pk, "backfill_id": backfill.pk}


@pytest.mark.thorough
def test_generated_calls_get_answers_that_match_the_openapi_document(
    key: str, world: dict[str, int], one_transaction: None
):
    authorization = {"Authorization": f"Bearer {key}"}
    schema = schemathesis.openapi.from_wsgi(
        "/api/v1/openapi.json", application, headers={**authorization, "Host": "localhost"}
    )
    found: list[Any] = list(schema.get_all_operations())
    operations = [each.ok() for each in found]
    operations.sort(key=lambda operation: operation.method.lower() == "delete")
    assert len(operations) > 40

    answered: Counter[int] = Counter()
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _try(operation.as_strategy(generation_mode=mode), authorization, world, answered)

    # Calls that are all refused, or none of them, would show little.
    assert {200, 201, 204, 400, 404} <= set(answered), answered
    assert not {401, 403} & set(answered), answered


def _try(
    calls: Any, authorization: dict[str, str], world: dict[str, int], answered: Counter[int]
) -> None:
    turn = iter(range(10**6))

    @seed(20260112)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=calls)
    def call(case: Any) -> None:
        # Every other call is about something that exists.
        if next(turn) % 2:
            for name in case.path_parameters or {}:
                if name in world:
                    case.path_parameters[name] = world[name]
        case.headers.pop("Authorization", None)
        response = case.call(headers={**authorization, "Host": "localhost"})
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    call()
