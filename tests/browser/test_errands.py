"""Ten errands of a daily user, each with at most three clicks besides the fields.

Each is done twice, so that each is done in both languages, at both widths, by hand and by keys:
in English at a desk (1440 pixels) by keys alone, and in Korean on a phone (390 pixels) by taps. All
begin on the front page, but for two: the backfill on the page of its job, the bulk pause in the
list of jobs. What is pressed has no words here: those differ by language.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.browser.hands import Hands, Keyboard, Pointer
from tests.browser.reader import PHONE, Reader
from tests.browser.site import Site

pytestmark = pytest.mark.processes

FRONT: Final = "/admin/"
JOBS: Final = "/admin/scheduler/cronjob/"
EXECUTIONS: Final = "/admin/scheduler/jobexecution/"
MOST_CLICKS: Final = 3
DESK: Final = (1440, 900)
# As they begin in each language; the name of the job follows.
RUN: Final = {"en": "run now", "ko": "지금 실행"}
PAUSE: Final = {"en": "pause", "ko": "일시 중지"}
RESUME: Final = {"en": "resume", "ko": "재개"}
NEW_JOB: Final = {"en": "New job", "ko": "새 작업"}


@pytest.fixture
def hands(reader: Reader) -> Iterator[Hands]:
    """The person, who stands on the front page and has clicked nothing yet."""
    reader.resize(*(DESK if reader.language == "en" else PHONE))
    reader.open(FRONT)
    person = Keyboard(reader) if reader.language == "en" else Pointer(reader)
    yield person
    assert person.clicks <= MOST_CLICKS


def job(hands: Hands, name: str) -> str:
    return f"{hands.reader.language} {name}"


def number_of(path: str) -> int:
    """Returns the number of the row whose page has this address."""
    return int(path.split("/")[4])


def state(site: Site, name: str) -> dict[str, object]:
    [row] = site.system.sql(
        "SELECT is_enabled, pause_reason, paused_until FROM cron_jobs WHERE name = %s", name
    )
    return row


def insert_run(site: Site, name: str, params: str) -> int:
    """Asks for a run as a program would, and waits until it runs."""
    site.system.sql(
        "INSERT INTO job_executions (job_id, job_name, handler_name, params, param_source,"
        " scheduled_time, max_retry)"
        " SELECT id, name, handler_name, %s, 'manual', datetime('now'), 0"
        " FROM cron_jobs WHERE name = %s",
        params,
        name,
    )
    return site.executions(name)[-1]


def status(site: Site, execution: int) -> str:
    [row] = site.system.sql("SELECT status FROM job_executions WHERE id = %s", execution)
    return str(row["status"])


def test_a_job_is_created(hands: Hands, site: Site) -> None:
    reader, name = hands.reader, job(hands, "made in three clicks")
    hands.palette(NEW_JOB[reader.language], finds=NEW_JOB[reader.language])

    hands.fill("[name=name]", name)
    hands.fill("[name=handler_name]", "sample")
    hands.fill("[name=cron_expression]", "30 2 * * *")
    reader.until(lambda: len(reader.all(".job-next-runs tbody tr")) == 20, "the next 20 runs")
    hands.go("[name=_save]")

    assert reader.path == f"{JOBS}{site.job(name)}/overview/", "the job is in view"


def test_a_job_runs_with_edited_parameters(hands: Hands, site: Site) -> None:
    reader, name = hands.reader, job(hands, "nightly")
    hands.palette(f"{RUN[reader.language]} {name}", finds=name)

    hands.fill("[data-param=message]", "in broad daylight")
    hands.go("main form [type=submit]")

    assert reader.path.startswith(EXECUTIONS), "the run is in view"
    [row] = site.system.sql(
        "SELECT params FROM job_executions WHERE id = %s", number_of(reader.path)
    )
    assert "in broad daylight" in str(row["params"])


def test_why_a_run_failed_is_found(hands: Hands, site: Site) -> None:
    failed = last_failure(hands, site)

    hands.go(f"#dash-failing a[href='{EXECUTIONS}{failed}/change/']")

    assert "the disk is full" in hands.reader.text("#execution-explanation")


def test_a_failed_run_is_retried(hands: Hands, site: Site) -> None:
    failed = last_failure(hands, site)

    hands.go(f"#dash-failing a[href='{EXECUTIONS}{failed}/change/']")
    hands.go("a[href$='/retry/']")
    hands.go("main form [type=submit]")

    site.system.wait_until(lambda: attempts(site, failed) == 2, 60, "the second attempt")


def last_failure(hands: Hands, site: Site) -> int:
    """Waits until the failed run of a job is on the front page."""
    name = job(hands, "broken")
    failed = site.executions(name)[-1]
    site.system.wait_until(lambda: status(site, failed) == "FAILED", 60, "the failure")

    def is_in_view() -> bool:
        hands.reader.open(FRONT)
        return bool(hands.reader.all(f"#dash-failing a[href='{EXECUTIONS}{failed}/change/']"))

    hands.reader.until(is_in_view, "the failing job")
    return failed


def attempts(site: Site, execution: int) -> int:
    [row] = site.system.sql(
        "SELECT count(*) AS n FROM job_attempts WHERE execution_id = %s", execution
    )
    return int(row["n"])


def test_a_run_is_cancelled(hands: Hands, site: Site) -> None:
    run = insert_run(site, job(hands, "long"), '{"sleep_seconds": 600}')
    site.system.wait_until(lambda: status(site, run) == "RUNNING", 60, "the run")
    hands.reader.open(FRONT)

    hands.go(f"#dash-running a[href='{EXECUTIONS}{run}/change/']")
    hands.go("a[href$='/cancel/']")
    hands.go("main form [type=submit]")

    site.system.wait_until(lambda: status(site, run) == "CANCELLED", 60, "its end")


def test_a_job_is_paused_with_a_reason_and_an_end(hands: Hands, site: Site) -> None:
    reader, name = hands.reader, job(hands, "to pause")
    hands.palette(f"{PAUSE[reader.language]} {name}", finds=name)

    hands.fill("[name=reason]", "stocktaking")
    hands.fill("[name=until_0]", "2099-12-31")
    hands.fill("[name=until_1]", "18:00")
    hands.go("main form [type=submit]")

    assert reader.path == f"{JOBS}{site.job(name)}/overview/"
    found = state(site, name)
    assert (found["is_enabled"], found["pause_reason"]) == (0, "stocktaking")
    assert "2099-12-31" in str(found["paused_until"])


def test_a_job_is_resumed_with_the_slots_that_it_missed(hands: Hands, site: Site) -> None:
    reader, name = hands.reader, job(hands, "halted")
    hands.palette(f"{RESUME[reader.language]} {name}", finds=name)

    hands.tick("[name=missed][value=latest]")
    hands.go("main form [type=submit]")

    assert reader.path == f"{JOBS}{site.job(name)}/overview/"
    assert state(site, name)["is_enabled"] == 1
    site.system.wait_until(lambda: site.executions(name), 60, "the run of the missed slot")


def test_a_range_is_backfilled_after_a_dry_run(hands: Hands, site: Site) -> None:
    reader, name = hands.reader, job(hands, "daily")
    reader.open(f"{JOBS}{site.job(name)}/overview/")

    hands.go("a[href*='/backfill/add/']")
    for field, day in (("since", "2024-02-08"), ("until", "2024-02-10")):
        hands.fill(f"[name={field}_0]", day)
        hands.fill(f"[name={field}_1]", "12:00")
    hands.go("[name=preview]")
    assert len(reader.all("table tbody tr")) == 2
    assert not backfilled(site, name), "nothing has run yet"
    hands.go("[name=start]")

    bar = "[role=progressbar]"
    reader.until(lambda: reader.find(bar).get_attribute("aria-valuenow") == "100", "100 %, live")
    assert backfilled(site, name) == 2


def backfilled(site: Site, name: str) -> int:
    [row] = site.system.sql(
        "SELECT count(*) AS n FROM job_executions e JOIN cron_jobs j ON j.id = e.job_id"
        " WHERE j.name = %s AND e.logical_time LIKE '2024-02-%'",
        name,
    )
    return int(row["n"])


def test_why_it_did_not_run_at_03_00_is_answered(hands: Hands) -> None:
    hands.go("#dash-cards a[href$='state=enabled']")
    hands.search("#searchbar", f"{job(hands, 'nightly')} 03:00")

    answer = hands.reader.find(".job-slot-answer")
    assert "03:00" in answer.text


def test_jobs_are_paused_in_bulk(hands: Hands, site: Site) -> None:
    names = [job(hands, "in bulk one"), job(hands, "in bulk two")]
    hands.reader.open(JOBS)

    hands.search("#searchbar", job(hands, "in bulk"))
    for name in names:
        hands.tick(f"[name=_selected_action][value='{site.job(name)}']")
    hands.select("[name=action]", "pause_many")
    hands.go("[name=index]")
    hands.fill("[name=reason]", "the network is down")
    hands.go("main form [type=submit]")

    assert [state(site, name)["pause_reason"] for name in names] == ["the network is down"] * 2
