"""What is wrong with channels is refused at start, with the path of the key and no secret."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pydantic import TypeAdapter, ValidationError

from scheduler.alert_settings import CheckIn
from scheduler.conf import from_mapping

MAIL: dict[str, Any] = {"kind": "mail", "to": ["team@example.com"]}
HOOK: dict[str, Any] = {
    "kind": "webhook",
    "url": "https://hooks.example.com/t0ken",
    "secret": "Sh4redSecret-16+",
}


@pytest.mark.parametrize(
    ("alerts", "place", "reason"),
    [
        ({"channels": {"a": {**MAIL, "to": ["nobody"]}}}, ".channels.a.mail.to.0", "mail address"),
        ({"channels": {"a": {**MAIL, "to": []}}}, ".channels.a.mail.to", "at least 1"),
        ({"channels": {"a": {**MAIL, "from": "x <y>"}}}, ".channels.a.mail.from", "mail address"),
        ({"channels": {"a": {**MAIL, "from": "a\nb <a@example.com>"}}}, ".from", "mail address"),
        ({"channels": {"a": {**HOOK, "secret": "short"}}}, ".a.webhook.secret", "too short"),
        ({"channels": {"a": {**HOOK, "url": "http://hooks.example.com"}}}, ".a.webhook", "https://"),
        ({"channels": {"a": {**HOOK, "url": "https://10.0.0.1/x"}}}, ".a.webhook", "private"),
        ({"channels": {"a": {**HOOK, "headers": {"Host": "x"}}}}, ".headers", "set by jobu"),
        ({"channels": {"a": {**HOOK, "headers": {"X-A": "b\nc"}}}}, ".headers", "line breaks"),
        ({"channels": {"a": {"kind": "pigeon"}}}, ".channels.a", "mail"),
        ({"channels": {"a": {**MAIL, "two": 1}}}, ".channels.a.mail.two", "unknown key"),
        ({"channels": {"a": {"kind": "apprise", "url": "nonsense"}}}, ".a.apprise.url", "apprise"),
        ({"channels": {"team": MAIL}, "default_channels": ["tema"]}, ".alerts", "'team'"),
        ({"owners": {"ana": {"channels": ["x"]}}}, ".alerts", "owners.ana.channels"),
        ({"owners": {"ana": {"quiet_hours": "22-7"}}}, ".owners.ana.quiet_hours", "22:00-07:00"),
        ({"owners": {"ana": {"timezone": "Asia/Soul"}}}, ".owners.ana.timezone", "Asia/Seoul"),
        ({"dead_man": {"url": "https://localhost/"}}, ".dead_man", "private"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_at_start(alerts: dict[str, Any], place: str, reason: str):
    with pytest.raises(ImproperlyConfigured) as caught:
        from_mapping({"alerts": alerts})

    text = str(caught.value)
    assert place in text
    assert reason in text
    assert "t0ken" not in text
    assert "Sh4red" not in text


def test_a_channel_whose_library_is_missing_is_refused_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ImproperlyConfigured, match="pip install 'jobu-scheduler"):
        from_mapping({"alerts": {"channels": {"a": {"kind": "apprise", "url": "json://x"}}}})


def test_secrets_are_not_in_what_is_printed():
    found = from_mapping({"alerts": {"channels": {"a": HOOK}}})

    assert "t0ken" not in repr(found)
    assert "Sh4red" not in f"{found} {found.alerts.channels!r}"


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "healthchecks", "url": "ftp://hc.example.com/a"},
        {"kind": "healthchecks", "url": "https://hc.example.com/a?rid=1"},
        {"kind": "sentry", "dsn": "https://o1.ingest.sentry.io/2", "slug": "a"},
        {"kind": "sentry", "dsn": "https://key@o1.ingest.sentry.io/two", "slug": "a"},
        {"kind": "sentry", "dsn": "https://key@o1.ingest.sentry.io/2", "slug": "A b"},
        {"kind": "other"},
    ],
)
def test_a_check_in_that_cannot_work_is_refused(given: dict[str, Any]):
    with pytest.raises(ValidationError):
        TypeAdapter(CheckIn).validate_python(given)
