"""The overview of a job in a browser: its runs, two of them compared, and the answer for a slot."""

from __future__ import annotations

from typing import Final

import pytest

from tests.browser.reader import Reader
from tests.browser.site import Site

pytestmark = pytest.mark.processes

JOBS: Final = "/admin/scheduler/cronjob/"
# A job that does not run by itself, with three runs.
SEED: Final = (
    "INSERT INTO cron_jobs (name, cron_expression, handler_name)"
    " VALUES ('compared', '0 0 1 1 *', 'sample')",
    """
INSERT INTO job_executions (job_id, job_name, handler_name, status, attempt, scheduled_time,
                            started_at, finished_at)
SELECT j.id, j.name, 'sample', 'SUCCESS', 1, n.at, n.at, datetime(n.at, n.took)
  FROM cron_jobs j,
       (SELECT '2026-01-01 00:00:00' AS at, '+3 seconds' AS took
        UNION ALL SELECT '2026-01-02 00:00:00', '+5 seconds'
        UNION ALL SELECT '2026-01-03 00:00:00', '+4 seconds') n
 WHERE j.name = 'compared'
""",
)


@pytest.mark.parametrize("signed_in", ["ko"], indirect=True)
def test_a_job_begins_with_its_runs_two_are_compared_and_any_slot_has_its_answer(
    reader: Reader, site: Site
) -> None:
    for statement in SEED:
        site.system.sql(statement)
    page = f"{JOBS}{site.job('compared')}/overview/"
    reader.open(f"{JOBS}?q=compared")
    reader.follow(f"a[href^='{page}']")
    assert reader.path.startswith(page)
    assert len(reader.all(".job-long-strip li")) == 3
    assert "5" in (reader.find("svg[role=img]").get_attribute("aria-label") or "")

    first, second, *_rest = reader.all("[name=run]")
    first.click()
    second.click()
    reader.press("#compare-runs [type=submit]")
    assert "/compare/?run=" in reader.path
    assert len(reader.all("tr.job-differs")) >= 2  # the slots and the durations

    reader.open(page)
    reader.type("at", "2026-01-02 09:00")
    reader.press(".job-slot-form [type=submit]")
    assert "/slot/?at=2026-01-02" in reader.path
    assert len(reader.all(".job-slot-answer a")) == 1
