"""Who tries passwords at the admin's sign-in is slowed down, in all web processes together."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse

from jobu_project.config import trusted_proxies
from scheduler.admin.sign_in import address_of
from scheduler.models import SignInFailures
from scheduler.operations.sign_ins import FREE_FAILURES, SignIns

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]
PASSWORD = "the-password-of-alice"


@pytest.fixture(autouse=True)
def alice() -> User:
    return User.objects.create_superuser("alice", "a@example.com", PASSWORD)


def sign_in(name: str, password: str, client: Client | None = None, address: str = "") -> int:
    """The status: 200 is a refusal, 302 a success."""
    headers = {"X-Forwarded-For": address} if address else {}
    answer = (client or Client()).post(
        reverse("admin:login"), {"username": name, "password": password}, headers=headers
    )
    return answer.status_code


def later(seconds: int) -> None:
    SignInFailures.objects.update(last_at=F("last_at") - timedelta(seconds=seconds))


def test_after_ten_failures_a_name_waits_at_its_address_and_nobody_else_does():
    assert [sign_in("alice", "wrong") for _ in range(FREE_FAILURES)] == [200] * FREE_FAILURES

    answer = Client().post(reverse("admin:login"), {"username": "Alice", "password": PASSWORD})

    assert answer.status_code == 429
    assert 25 <= int(answer.headers["Retry-After"]) <= 30
    assert "Too many failed sign-ins. Wait" in answer.content.decode()
    assert sign_in("bob", "wrong") == 200
    assert sign_in("alice", PASSWORD, address="192.0.2.7") == 302
    # One more try after the wait; the next wait is twice as long.
    later(30)
    assert sign_in("alice", "wrong") == 200
    later(35)
    assert sign_in("alice", PASSWORD) == 429
    later(30)
    assert sign_in("alice", PASSWORD) == 302
    assert [sign_in("alice", "wrong") for _ in range(3)] == [200] * 3, "counted anew"


def test_one_name_is_one_name_however_it_is_typed():
    typed = ["alice", "Alice", " alice", "alice ", "\talice", "\u3000alice", "\uff41lice"]
    if connection.vendor == "mysql":
        typed += ["álice", "alicé"]
    else:
        typed += ["ALICE", "aLice"]
    assert [sign_in(name, "wrong") for name in [*typed, "alice"]] == [200] * FREE_FAILURES

    assert sign_in("   alice   ", PASSWORD) == 429
    assert sign_in("a\0lice", PASSWORD) == 200


def test_a_session_of_somebody_else_gives_no_more_tries():
    mallory = Client()
    mallory.force_login(User.objects.create_user("mallory", is_staff=True))

    for _ in range(FREE_FAILURES):
        assert sign_in("alice", "wrong", mallory) == 200

    assert sign_in("alice", "wrong", mallory) == 429


def test_attempts_at_the_same_moment_are_counted_before_their_passwords_are_checked():
    together = FREE_FAILURES + 6
    barrier = threading.Barrier(together)
    waits: list[int] = []

    def attempt() -> None:
        barrier.wait(20)
        try:
            waits.append(SignIns().begin("alice", "192.0.2.1"))
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(wait > 0 for wait in waits) == [False] * FREE_FAILURES + [True] * 6


def test_failures_are_forgotten_after_a_day_and_names_are_not_stored():
    sign_in("my password, typed into the wrong field", "x")
    assert SignInFailures.objects.get().key_hash.isalnum()

    later(86_500)
    sign_in("bob", "x")

    assert SignInFailures.objects.count() == 1


@pytest.mark.parametrize(
    ("connects", "forwarded", "trusted", "address"),
    [
        ("192.0.2.1", None, None, "192.0.2.1"),
        ("192.0.2.1", "10.9.9.9", None, "192.0.2.1"),
        ("127.0.0.1", "10.9.9.9, 192.0.2.5", None, "192.0.2.5"),
        ("", "192.0.2.5", None, "192.0.2.5"),
        ("10.0.0.2", "192.0.2.5", "10.0.0.1, 10.0.0.2", "192.0.2.5"),
        ("10.0.0.2", "10.9.9.9, 192.0.2.5, 10.0.0.1", "10.0.0.1,10.0.0.2", "192.0.2.5"),
        ("10.0.0.2", "10.0.0.1", "10.0.0.1,10.0.0.2", "10.0.0.1"),
        ("10.0.0.3", "192.0.2.5", "*", "192.0.2.5"),
        ("2001:db8:1:2:3::4", None, None, "2001:db8:1:2::/64"),
        ("127.0.0.1", "nonsense", None, "nonsense"),
        ("127.0.0.1", "192.0.2.5:50123", None, "192.0.2.5"),
        ("127.0.0.1", "[2001:db8:1:2:3::4]:50123", None, "2001:db8:1:2::/64"),
    ],
)
def test_the_address_is_what_a_trusted_proxy_says(
    connects: str, forwarded: str | None, trusted: str | None, address: str,
    monkeypatch: pytest.MonkeyPatch, settings: Any,
):  # fmt: skip
    if trusted is not None:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    else:
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    settings.JOBU = settings.JOBU.model_copy(update={"trusted_proxies": trusted_proxies()})
    request: HttpRequest = RequestFactory().post("/", headers={"X-Forwarded-For": forwarded or ""})
    request.META["REMOTE_ADDR"] = connects

    assert address_of(request) == address
