"""The admin's page for API tokens."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.models import ApiToken, Preference
from scheduler.operations.keys import TokenControl, hash_of
from tests.api.conftest import Program, error_of, ok, person

pytestmark = pytest.mark.django_db

LIST = "admin:scheduler_apitoken_changelist"
ADD = "admin:scheduler_apitoken_add"
FORM = {"name": "ci", "scopes": ["read", "operate"], "expires_at_0": "", "expires_at_1": ""}


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.database
def test_key_of_a_new_token_is_shown_once_and_works():
    vera = person("vera", "view_cronjob")
    client = browser(vera)
    assert client.get(reverse(ADD)).status_code == 200

    redirect = client.post(reverse(ADD), FORM)

    assert redirect.status_code == 302
    assert "jobu_" not in redirect.headers["location"]
    made = redirect.cookies["jobu_new_key"]
    assert made["path"] == redirect.headers["location"]
    assert (made["httponly"], made["samesite"]) == (True, "Strict")
    page = client.get(redirect.headers["location"])
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    (key,) = re.findall(r'value="(jobu_[\w-]+)"', page.content.decode())
    token = ApiToken.objects.get()
    assert token.key_hash == hash_of(key)
    assert token.user == vera
    assert token.scopes == ["read", "operate"]
    assert ok(Program(key).get("/me"))["user"] == "vera"
    for url in (reverse(LIST), reverse("admin:scheduler_apitoken_change", args=[token.pk])):
        shown = client.get(url)
        assert shown.status_code == 200
        assert token.prefix in shown.content.decode()
        assert key not in shown.content.decode()

    again = client.get(redirect.headers["location"], follow=True)
    assert key not in again.content.decode()
    assert "Its key was shown once" in again.content.decode()
    assert ApiToken.objects.count() == 1


def test_page_of_a_new_key_shows_no_other_key_and_no_strangers_token():
    vera, bob = person("vera"), person("bob")
    token, key = TokenControl().create(vera, "veras", ["read"])
    url = reverse("admin:scheduler_apitoken_made", args=[token.pk])
    for user, sent, status in ((vera, "jobu_planted", 302), (bob, key, 404)):
        client = browser(user)
        client.cookies["jobu_new_key"] = sent

        page = client.get(url)

        assert page.status_code == status
        assert sent not in page.content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "expires_at"),
        ({"expires_at_0": "9999-12-31", "expires_at_1": "23:59:59"}, "expires_at"),
    ],
)
def test_a_bad_token_is_refused_at_its_field(alice: User, given: dict[str, Any], field: str):
    Preference.objects.create(user=alice, timezone="America/New_York")

    page = browser(alice).post(reverse(ADD), {**FORM, "user": alice.pk, **given})

    assert list(page.context["adminform"].form.errors) == [field]
    assert not ApiToken.objects.exists()


def test_users_see_and_revoke_their_own_tokens_and_superusers_all(alice: User):
    vera, bob = person("vera"), person("bob")
    token, key = TokenControl().create(vera, "veras", ["read"])
    url = reverse("admin:scheduler_apitoken_revoke", args=[token.pk])

    assert "veras" not in browser(bob).get(reverse(LIST)).content.decode()
    browser(bob).post(url)
    ok(Program(key).get("/me"))

    assert "veras" in browser(alice).get(reverse(LIST)).content.decode()
    assert browser(vera).get(url).status_code == 200
    ok(Program(key).get("/me"))  # asked only
    assert browser(vera).post(url).status_code == 302
    assert error_of(Program(key).get("/me"), 401)


def test_only_superusers_create_tokens_for_others(alice: User):
    vera, bob = person("vera"), person("bob")
    browser(vera).post(reverse(ADD), {**FORM, "user": bob.pk})
    browser(alice).post(reverse(ADD), {**FORM, "name": "for bob", "user": bob.pk})

    assert dict(ApiToken.objects.values_list("name", "user__username")) == {
        "ci": "vera", "for bob": "bob",
    }  # fmt: skip


def test_several_tokens_are_revoked_at_once(alice: User):
    for name in ("a", "b"):
        TokenControl().create(alice, name, ["read"])
    chosen = list(ApiToken.objects.values_list("pk", flat=True))

    answers = {"action": "revoke_many", "_selected_action": chosen, "confirmed": "yes"}
    browser(alice).post(reverse(LIST), answers)

    assert not ApiToken.objects.filter(revoked_at=None).exists()


def test_token_cannot_be_edited(alice: User):
    token, _ = TokenControl().create(alice, "ci", ["read"])
    url = reverse("admin:scheduler_apitoken_change", args=[token.pk])

    assert browser(alice).post(url, {**FORM, "scopes": ["write"]}).status_code == 403
    token.refresh_from_db()
    assert token.scopes == ["read"]
