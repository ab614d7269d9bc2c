"""Attacks on every page. The test finds pages by their addresses, so new pages are included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client

from scheduler.models import CronJob, JobExecution
from tests.security.attacks import HTML, LOOKUPS, MARK, SECRET, SECRETS, SQL, scripts_in
from tests.security.conftest import addresses, addresses_of_one_run, counts, fill, lists

pytestmark = pytest.mark.django_db


def text_of(response: Any) -> str:
    parts = response.streaming_content if response.streaming else [response.content]
    return b"".join(parts).decode()


def test_html_detector_finds_injected_html():
    assert scripts_in(f"<p>{HTML}</p>")
    assert scripts_in(f'<p title="{HTML}">')
    assert scripts_in(f"<p title='{HTML}'>")
    assert scripts_in(f"<script>let x = '{HTML}'</script>")
    assert scripts_in('<a href=" JavaScript:alert(1)">')
    assert not scripts_in("<p title='&lt;xss-canary&gt;'>&lt;xss-canary&gt;</p>")


class Page(NamedTuple):
    address: str
    status: int
    headers: Mapping[str, str]
    text: str


#: It answers 503, as no beat runs here.
PROBES = {"/health/scheduler"}

_pages: list[Page] = []


@pytest.fixture
def pages(admin, alice) -> list[Page]:
    """Every page, with HTML in each text and each JSON column, and secrets in each JSON column.

    They are read once for all tests, because there are more than a hundred.
    """
    if not _pages:
        rows = fill(alice, HTML, {HTML: [HTML, {HTML: HTML}]} | SECRETS)
        assert SECRET in str(JobExecution.objects.values_list("params", flat=True)[0])
        for address in addresses(rows):
            response = admin.get(address)
            _pages.append(Page(address, response.status_code, response.headers, text_of(response)))
    return _pages


@pytest.mark.thorough
def test_no_page_shows_text_of_a_row_as_html(pages):
    shown = 0
    for page in pages:
        assert page.status < 500 or page.address in PROBES, page.address
        if "text/html" in page.headers.get("Content-Type", ""):
            assert scripts_in(page.text) == [], page.address
            assert "13371344" not in page.text, f"{page.address} renders text as a template"
            shown += "&lt;xss-canary&gt;" in page.text
    assert shown >= 30, "the pages do show the rows"


@pytest.mark.thorough
def test_no_secret_is_on_any_page(pages):
    for page in pages:
        assert SECRET not in page.text, page.address
        assert SECRET not in str(page.headers), page.address


@pytest.mark.parametrize("words", ["q", "handler", "state", "e", "scheduled_time_from", "_popup"])
def test_no_list_shows_text_of_its_address_as_html(admin, alice, words):
    fill(alice, "plain")
    for path in lists():
        response = admin.get(path, {words: HTML}, follow=True)
        assert response.status_code in (200, 400), path
        assert scripts_in(text_of(response)) == [], path


@pytest.mark.thorough
def test_pages_show_no_data_to_users_without_permission(alice, django_user_model):
    rows = fill(alice, "row-canary")
    somebody = Client(raise_request_exception=False)
    staff = Client(raise_request_exception=False)
    staff.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    for address in addresses_of_one_run(rows):
        for client in (somebody, staff):
            response = client.get(address)
            assert response.status_code < 500 or address in PROBES, address
            assert "row-canary" not in text_of(response), address


@pytest.mark.thorough
def test_no_page_accepts_a_post_without_the_csrf_token(alice):
    rows = fill(alice, "plain")
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(alice)
    before, answered = counts(), []
    for address in addresses_of_one_run(rows):
        for method in (client.post, client.put, client.delete, client.patch):
            response = method(address, data="{}", content_type="application/json")
            assert response.status_code in (301, 302, 401, 403, 404, 405), (address, response)
            if response.status_code in (301, 302):
                # Redirections of addresses alone; nobody was let in to do something.
                assert not address.startswith("/admin/scheduler/"), address
            answered.append(response.status_code)
    assert answered.count(403) > 100
    assert counts() == before


@pytest.fixture
def statements(db: None) -> Any:
    """Collects every SQL statement of the test, without parameters."""
    seen: list[str] = []

    def remember(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(remember):
        yield seen


# What the lists read from their address, and what they must not.
PARAMETERS = (
    "q", "o", "p", "all", "state", "handler", "queue", "last", "status__exact", "status", "job",
    "source", "param_source", "ended", "backfill", "scheduled_time_from", "scheduled_time_to",
    "kind__exact", "_changelist_filters", "_to_field",
)  # fmt: skip


@pytest.mark.database
@pytest.mark.thorough
def test_text_of_list_addresses_is_never_part_of_an_sql_statement(admin, alice, statements):
    fill(alice, "plain")
    before = counts()
    paths = [path for path in lists() if "/scheduler/" in path]
    searched = [path for path in paths if "cronjob" in path or "jobexecution" in path]
    tried = [(path, {"q": text}) for path in searched for text in SQL]
    if connection.vendor == "sqlite":  # which texts reach a statement is the same on each database
        tried += [(path, {name: SQL[3]}) for path in paths for name in PARAMETERS]
    tried += [(path, dict.fromkeys(LOOKUPS, SQL[3])) for path in paths]
    for path, query in tried:
        response = admin.get(path, query)
        assert response.status_code in (200, 302, 400, 403), (path, query)
    assert len(statements) > len(tried)
    assert [sql for sql in statements if MARK in sql] == []
    assert counts() == before


@pytest.mark.thorough
def test_no_list_can_be_filtered_by_hidden_columns(admin, alice):
    fill(alice, "plain", SECRETS)

    def found(path: str, lookup: str, value: str) -> list[Any] | None:
        response = admin.get(path, {lookup: value})
        assert response.status_code in (200, 302, 400, 403), path
        changes = response.context and response.context.get("cl")
        return [row.pk for row in changes.result_list] if changes else None

    for path in [path for path in lists() if "/scheduler/" in path or path.endswith("/user/")]:
        for lookup in LOOKUPS:
            answers = [found(path, lookup, value) for value in (SECRET[:4], "begins otherwise")]
            assert answers[0] == answers[1], f"{path}?{lookup}= answers questions"


def test_a_body_that_is_too_large_is_refused(admin, alice, settings):
    rows = fill(alice, "plain")
    large = "x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    before = CronJob.objects.values().get(pk=rows.job.pk)
    for path in (
        "/admin/scheduler/cronjob/add/",
        f"/admin/scheduler/cronjob/{rows.job.pk}/change/",
    ):
        sent = urlencode({"name": "n", "description": large})
        response = admin.post(path, sent, content_type="application/x-www-form-urlencoded")
        assert response.status_code in (400, 413), path
    many = urlencode([(f"field{number}", "x") for number in range(5000)])
    response = admin.post(
        "/admin/scheduler/cronjob/add/", many, content_type="application/x-www-form-urlencoded"
    )
    assert response.status_code == 400
    assert CronJob.objects.values().get(pk=rows.job.pk) == before
    assert CronJob.objects.count() == 1


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "a@localhost", ""])
def test_unknown_host_is_refused(client, host, settings):
    settings.ALLOWED_HOSTS = ["localhost"]
    assert client.get("/admin/login/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_login_does_not_redirect_to_another_site(client, alice, target):
    sent = {"username": "alice", "password": "the-password-of-alice", "next": target}
    for address in ("/admin/login/", f"/admin/login/?{urlencode({'next': target})}"):
        response = client.post(address, sent)
        assert response.status_code == 302
        assert "evil" not in response.headers["Location"]
        assert response.headers["Location"].startswith("/")


def test_pages_forbid_framing_and_content_sniffing(admin):
    headers = admin.get("/admin/").headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.database
@pytest.mark.parametrize("name", ["jobexecution", "backfill"])
@pytest.mark.parametrize("number", ["9" * 20, "9" * 400, "-" + "9" * 30, "a", "%00", "%ED%A0%80"])
def test_job_id_above_the_range_is_not_a_server_error(admin, name, number):
    response = admin.get(f"/admin/scheduler/{name}/?job__id__exact={number}")
    assert response.status_code < 500
