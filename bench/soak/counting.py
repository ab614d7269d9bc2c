"""What the counters of /metrics must say at the end of a soak. Uses none of jobu's own code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bench.soak.history import ALL_JOBS, FINAL, Counted, Execution

RAN = frozenset({"SUCCESS", "FAILED", "TIMEOUT"})


def counting_seconds(lease_seconds: float) -> float:
    """Returns within what time beat counts the end of a frozen worker: docs/monitoring.md."""
    return 2 * lease_seconds + 60


def miscounted(counted: Mapping[int, Counted], executions: Iterable[Execution]) -> Iterator[str]:
    """Yields one sentence for each job whose counters differ from its rows."""
    expected = counted_from(executions)
    for job_id in sorted(expected.keys() | counted.keys()):
        said, right = counted.get(job_id), expected.get(job_id)
        if said != right:
            which = f"job {job_id}" if job_id != ALL_JOBS else "all jobs"
            yield f"{which}: metrics say {said}, rows {right}"


def counted_from(executions: Iterable[Execution]) -> dict[int, Counted]:
    """Returns what the counters must say of these rows. Cancelled runs have no duration.

    A divided run counts once: its shards are not counted.
    """
    rows: dict[int, list[Execution]] = defaultdict(list)
    for row in executions:
        if row.status in FINAL and row.job_id is not None:
            rows[row.job_id].append(row)
            rows[ALL_JOBS].append(row)
    return {
        job_id: Counted(
            ended=Counter(row.status for row in of_job),
            durations=sum(_has_run(row) for row in of_job),
            latenesses=sum(_has_run(row) and row.attempt == 1 for row in of_job),
        )
        for job_id, of_job in rows.items()
    }


def _has_run(row: Execution) -> bool:
    return row.status in RAN and row.started_at is not None
