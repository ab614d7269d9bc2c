"""A real beat is restarted with another calendar.

What it writes then: tests/scheduler/test_changed_schedules.py, on each database.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from scheduler.clock import host_now
from tests.harness.process_helpers import insert_job
from tests.harness.system import System

pytestmark = pytest.mark.processes


def test_a_beat_that_starts_with_a_new_holiday_moves_the_next_run(jobu: System):
    month = (host_now().month + 5) % 12 + 1  # far away: no slot is due in this test
    close(jobu)
    insert_job(jobu, "pay", cron_expression=f"0 18 L {month} *", calendar="pay:previous")

    def next_run() -> datetime | None:
        (row,) = jobu.sql("SELECT next_run_at FROM cron_jobs")
        found = row["next_run_at"]
        return datetime.fromisoformat(str(found)) if found else None

    before = after_start(jobu, next_run)
    close(jobu, f"{before:%Y-%m-%d}")
    after = after_start(jobu, lambda: next_run() if next_run() != before else None)

    assert before - after == timedelta(days=1)
    assert "job 'pay': its schedule has changed, its next run moves from" in jobu.parts[-1].log()


def close(jobu: System, *days: str) -> None:
    """Writes the days of calendar `pay` into the configuration."""
    path = jobu.config_dir / "scheduler.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["scheduler"]["default_timezone"] = "UTC"
    content["scheduler"]["calendars"] = {"pay": {"dates": list(days)}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def after_start(jobu: System, ask: Callable[[], Any]) -> Any:
    """Starts a beat, waits for an answer, and ends the beat."""
    beat = jobu.start_beat()
    found = jobu.wait_until(ask, 60, "the watermark")
    beat.terminate()
    assert beat.wait(30) == 0
    return found
