"""`manage.py tokens`: a key is printed once, works at once, and is refused once it is revoked."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from scheduler.models import Activity, ApiToken
from tests.test_commands import ran, refused, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _ann() -> None:
    get_user_model().objects.create_superuser("ann", password="x")


def status_with(key: str) -> int:
    return Client().get("/api/me", headers={"authorization": f"Bearer {key}"}).status_code


@pytest.mark.database
def test_a_key_is_printed_once_works_and_is_refused_once_revoked() -> None:
    made = ran("tokens", "create", "--user", "ann", "--name", "backup", "--expires", "in 1d")
    key = made.out.strip()
    assert key.startswith("jobu_")
    assert key not in made.err
    assert status_with(key) == 200

    (token,) = ran("tokens", "list", "--user", "ann", "--json").json["items"]
    assert (token["name"], token["scopes"], token["state"]) == ("backup", ["read"], "valid")
    assert key not in str(token) + ran("tokens", "list").out
    assert [entry.target_name for entry in Activity.objects.all()] == ["backup"]

    assert ran("tokens", "revoke", token["id"]).out == f"{token['id']}: revoked\n"
    assert status_with(key) == 401
    assert "was revoked before" in refused("tokens", "revoke", token["id"])


def test_json_holds_the_key_and_scopes_in_their_order() -> None:
    made = ran(
        "tokens", "create", "--user", "ann", "--name", "ci", "--scopes", "operate,read", "--json"
    ).json

    assert made["scopes"] == ["read", "operate"]
    assert status_with(made["key"]) == 200


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"--user": "anm"}, "there is no user 'anm', did you mean 'ann'?"),
        ({"--scopes": "reed"}, "scopes: 'reed' is none of read, operate, write"),
        ({"--scopes": ","}, "is none of read, operate, write"),
        ({"--expires": "1h ago"}, "expires: must be in the future"),
        ({"--name": "x" * 101}, "name: has 101 characters, at most 100 are allowed"),
    ],
)
def test_bad_values_make_no_token(changed: dict[str, Any], text: str) -> None:
    given = {"--user": "ann", "--name": "ci"} | changed

    assert text in refused("tokens", "create", *(word for pair in given.items() for word in pair))
    assert not ApiToken.objects.exists()


def test_wrong_usage_ends_with_2() -> None:
    assert run("tokens", "create", "--name", "ci").code == 2
