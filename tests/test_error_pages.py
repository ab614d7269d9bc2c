"""The error pages of the ready-made site, in the language of the browser."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("language", "heading", "link"),
    [
        ("en", "There is no such page", "To the front page"),
        ("ko", "페이지를 찾을 수 없습니다", "첫 페이지로"),
    ],
)
def test_an_unknown_address_leads_back_to_the_front_page(
    language: str, heading: str, link: str
) -> None:
    page = Client().get("/nothing-here", headers={"Accept-Language": language})
    assert page.status_code == 404
    assert heading in page.text
    assert f'<a href="/">{link}</a>' in page.text


def test_a_form_without_its_token_says_that_nothing_was_changed() -> None:
    page = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "alice"})
    assert page.status_code == 403
    assert "Nothing was changed." in page.text


def test_an_error_says_where_its_traceback_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a secret of the code")

    monkeypatch.setattr("django.contrib.auth.views.LoginView.get_context_data", fails)
    page = Client(raise_request_exception=False).get("/admin/login/")
    assert page.status_code == 500
    assert "in the log of the web process" in page.text
    assert "secret of the code" not in page.text
