"""Whether a run that waits for another job has begun in order, and has begun at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from bench.soak.history import History

# The ledger has the clock of the process, the rows that of the database.
_SLACK = timedelta(seconds=0.1)


def out_of_order(history: History) -> Iterator[tuple[str, str]]:
    """Yields what is broken, and in which execution.

    A job and the one that it waits for have the same schedule here, so the same slots.
    """
    runs = {(row.job_id, row.slot): row for row in history.executions}
    lines = reversed(history.ledger)
    begun = {line.execution_id: line.at for line in lines if line.what == "begin"}
    after = {job.id: job.after for job in history.jobs if job.after is not None}
    for row in history.executions:
        if row.job_id not in after:
            continue
        upstream = runs.get((after[row.job_id], row.slot))
        ended = None
        if upstream is not None and upstream.status == "SUCCESS":
            ended = upstream.finished_at
        began = begun.get(row.id)
        if began is not None and (ended is None or ended > began + _SLACK):
            yield (
                "too_early",
                f"execution {row.id} began before its upstream job had succeeded for"
                f" {row.slot:%H:%M:%S}",
            )
        if ended is not None and row.reason_code == "upstream_missing":
            yield (
                "starved",
                f"execution {row.id} was skipped although its upstream job had succeeded",
            )
