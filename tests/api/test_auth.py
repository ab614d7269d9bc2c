"""Authentication: sessions with CSRF, and tokens with scopes and an expiry time."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from scheduler.models import ApiToken, CronJob
from scheduler.operations.keys import TokenControl
from scheduler.store.connection import database_now
from tests.api.conftest import Program, error_of, ok, person, program

pytestmark = pytest.mark.django_db


def test_requests_without_login_are_refused():
    answer = Program(None).get("/crons")
    assert error_of(answer, 401)["code"] == "UNAUTHENTICATED"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    ["Bearer nonsense", "Bearer", "Basic YTpi", "Token x", "Bearer jobu_" + "x" * 10_000, "", "é"],
)
def test_a_wrong_token_is_refused_even_beside_a_session(alice: User, header: str):
    client = Client()
    client.force_login(alice)
    answer = client.get("/api/crons", headers={"Authorization": header})
    assert error_of(answer, 401)["code"] == "UNAUTHENTICATED"


@pytest.mark.database
def test_token_is_stored_as_a_hash_and_acts_as_its_user(alice: User):
    token, key = TokenControl().create(alice, "ci", ["read"])

    assert key.startswith("jobu_")
    assert token.key_hash == hashlib.sha256(key.encode()).hexdigest()
    assert key not in str(ApiToken.objects.values().get())
    me = ok(Program(key).get("/me"))
    assert (me["user"], me["token"], me["scopes"]) == ("alice", "ci", ["read"])
    assert "see jobs" in me["may"]
    assert "create a job" not in me["may"]
    token.refresh_from_db()
    assert token.last_used_at is not None


@pytest.mark.database
def test_token_that_expired_or_was_revoked_or_has_a_disabled_user_is_refused(alice: User):
    now = database_now()
    program_ = program(alice, expires_at=now + timedelta(hours=1))
    ok(program_.get("/crons"))

    ApiToken.objects.update(expires_at=now - timedelta(seconds=10))
    assert "expired" in error_of(program_.get("/crons"), 401)["message"]
    ApiToken.objects.update(expires_at=None, revoked_at=now)
    assert "revoked" in error_of(program_.get("/crons"), 401)["message"]
    ApiToken.objects.update(revoked_at=None)
    User.objects.update(is_active=False)
    assert error_of(program_.get("/crons"), 401)


def test_token_is_limited_by_its_scopes_and_its_user(alice: User, job: CronJob):
    reader = program(alice, ["read"])
    ok(reader.get("/crons"))
    error = error_of(reader.post(f"/crons/{job.pk}/run"), 403)
    assert error["code"] == "SCOPE_MISSING"
    assert "operate" in error["message"]

    viewer = program(person("vera", "view_cronjob"))
    ok(viewer.get("/crons"))
    error = error_of(viewer.post(f"/crons/{job.pk}/run"), 403)
    assert error["code"] == "FORBIDDEN"
    assert "vera" in error["message"]
    assert error_of(viewer.delete(f"/crons/{job.pk}"), 403)


def test_permission_is_checked_before_the_body(job: CronJob):
    viewer = program(person("vera", "view_cronjob"))
    assert error_of(viewer.post("/crons", {"name": 5}), 403)
    assert error_of(viewer.delete("/crons/999999"), 403)


def test_a_session_needs_the_csrf_token_for_changes(alice: User, job: CronJob):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    ok(client.get("/api/crons"))
    url = f"/api/crons/{job.pk}/toggle"
    assert error_of(client.post(url, content_type="application/json"), 403)["code"] == "CSRF_FAILED"

    client.get("/api/docs", headers={"Accept": "text/html"})  # sets the cookie, as any page does
    token = client.cookies["csrftoken"].value

    ok(client.post(url, content_type="application/json", headers={"X-CSRFToken": token}))
    form = {"csrfmiddlewaretoken": token}
    assert error_of(client.post(url, form, headers={"X-CSRFToken": token}), 415)


def test_a_token_needs_no_csrf_token(alice: User, job: CronJob):
    key = TokenControl().create(alice, "ci", ["operate"])[1]
    client = Client(enforce_csrf_checks=True)
    ok(
        client.post(
            f"/api/crons/{job.pk}/toggle",
            content_type="application/json",
            headers={"Authorization": f"bearer {key}"},
        )
    )


def test_session_of_a_disabled_user_is_refused(alice: User):
    client = Client()
    client.force_login(alice)
    User.objects.update(is_active=False)
    assert error_of(client.get("/api/crons"), 401)
