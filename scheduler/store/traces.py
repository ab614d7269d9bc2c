"""`trace_context` of executions. Read and written only while the setting `tracing` is on.

The text is W3C's `traceparent` of the span that asked for the run, or of its first attempt, and
after a space that of its newest attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from scheduler.models import JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import execute, numbers


def read(ids: Collection[int]) -> dict[int, str]:
    """The contexts of those of these executions that have one."""
    found = JobExecution.objects.filter(id__in=ids, trace_context__isnull=False)
    return {id_: text for id_, text in found.values_list("id", "trace_context") if text}


def write(contexts: Mapping[int, str]) -> None:
    """Write the contexts of attempts that have just begun. One statement."""
    if not contexts:
        return
    values: list[Any] = [value for pair in contexts.items() for value in pair]
    cases = " ".join(["WHEN %s THEN %s"] * len(contexts))
    execute(_WRITE.format(cases=cases, ids=numbers(contexts)), [*values, RunStatus.RUNNING])


_WRITE = """
UPDATE job_executions
   SET trace_context = CASE id {cases} END
 WHERE id IN ({ids}) AND status = %s
"""
