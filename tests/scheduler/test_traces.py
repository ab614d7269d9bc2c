"""Runs as traces of OpenTelemetry, collected in memory."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from pydantic import ValidationError

from dbpools import DatabaseRegistry, get_db
from scheduler import conf
from scheduler.conf import SchedulerSettings
from scheduler.models import JobExecution
from scheduler.operations.tasks import Call, TaskOperations
from scheduler.operations.tracing import traceparent
from scheduler.states import RunStatus
from scheduler.store import claims
from scheduler.worker.spans import stop_tracing_statements
from tests.harness.scheduler_harness import SchedulerHarness, fresh

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

_exporter = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def provider() -> None:
    # A process has one provider, and only the first one counts.
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(made)


@pytest.fixture
def exporter(system: SchedulerHarness) -> Iterator[InMemorySpanExporter]:
    _exporter.clear()
    system.configure(tracing=True)
    yield _exporter
    stop_tracing_statements()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def context_of(span: ReadableSpan) -> SpanContext:
    assert span.context is not None
    return span.context


async def asks_and_fails_once(self: Any, params: Any) -> None:
    with trace.get_tracer("shop").start_as_current_span("work of the shop"):
        async with get_db("shop").transaction() as tx:
            await tx.fetch_val("select :secret as word", {"secret": "hunter2"}, name="the word")
    if self.context.attempt == 1:
        raise LookupError("hunter2 was not found")


def test_one_trace_joins_the_call_two_attempts_and_their_sql(
    system: SchedulerHarness, exporter: InMemorySpanExporter, tmp_path: Path
):
    handler = system.handler("asks", asks_and_fails_once)
    shop = {"shop": {"type": "sqlite", "path": str(tmp_path / "shop.db")}}
    system.worker.bridge.run(DatabaseRegistry.init_from_config(shop))
    job = system.job(handler_name=handler, queue="mail")

    with trace.get_tracer("shop").start_as_current_span("request") as request:
        row = system.control.run_now(job.pk)
    assert system.worker.execute(row.pk) == RunStatus.PENDING
    system.clock.advance(120)
    assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    system.worker.bridge.run(DatabaseRegistry.close_all())

    first, second = named(exporter, "process asks")
    asked = request.get_span_context()
    spans = exporter.get_finished_spans()
    assert {context_of(span).trace_id for span in spans} == {asked.trace_id}
    assert parent_of(first) == parent_of(second) == asked.span_id
    assert first.links == ()
    assert [link.context.span_id for link in second.links] == [context_of(first).span_id]
    assert first.kind == SpanKind.CONSUMER
    assert first.attributes is not None
    wanted = {
        "messaging.system": "jobu",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(row.pk),
        "jobu.attempt": 1,
        "jobu.outcome": "FAILED",
        "error.type": "builtins.LookupError",
    }
    assert wanted.items() <= dict(first.attributes).items()
    assert (first.status.status_code, second.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    own = named(exporter, "work of the shop")
    assert [parent_of(span) for span in own] == [
        context_of(each).span_id for each in (first, second)
    ]
    statements = named(exporter, "the word")
    assert [parent_of(span) for span in statements] == [context_of(span).span_id for span in own]
    assert statements[0].attributes is not None
    assert statements[0].attributes["db.system.name"] == "sqlite"
    assert statements[0].kind == SpanKind.CLIENT
    assert "hunter2" not in "".join(span.to_json() for span in [*statements, first, second])


def test_an_attempt_is_linked_to_the_one_that_was_lost_with_its_worker(
    system: SchedulerHarness, exporter: InMemorySpanExporter
):
    began, goes_on = threading.Event(), threading.Event()

    async def waits(self: Any, params: Any) -> None:
        if self.context.attempt == 1:
            began.set()
            await asyncio.to_thread(goes_on.wait, 20)

    row = system.execution(system.job(handler_name=system.handler("waits", waits)))
    lost, other = system.new_worker(), system.new_worker()
    begun = lost.executor.claim(claims.ByIds([row.pk]))
    assert began.wait(20)

    stored = fresh(row).trace_context
    system.dispatcher.tick()
    system.clock.advance(system.settings.lease_seconds + 1)
    system.dispatcher.tick()
    system.clock.advance(300)
    assert other.execute(row.pk) == RunStatus.SUCCESS
    goes_on.set()
    lost.executor.wait_for(begun.runs[0])

    # The second one has ended first.
    second, lost_one = named(exporter, "process waits")
    first = context_of(lost_one)
    # No span asked for it, so its first attempt begins the trace.
    assert stored == f"{traceparent(first)} {traceparent(first)}"
    assert parent_of(second) == first.span_id
    assert [link.context.span_id for link in second.links] == [first.span_id]


def test_a_call_of_a_task_keeps_the_span_that_made_it(
    system: SchedulerHarness, exporter: InMemorySpanExporter
):
    call = Call(
        path="shop.tasks.mail", params={}, max_retry=0, timeout_seconds=5, queue="", priority=0,
        run_after=None,
    )  # fmt: skip
    operations = TaskOperations(clock=system.clock)

    with trace.get_tracer("shop").start_as_current_span("request") as request:
        within, _ = operations.enqueue(call)
    outside, _ = operations.enqueue(call)

    asked = request.get_span_context()
    assert JobExecution.objects.get(pk=within).trace_context == traceparent(asked)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", traceparent(asked))
    assert JobExecution.objects.get(pk=outside).trace_context is None


def test_what_sql_wrote_into_the_column_disturbs_no_run(
    system: SchedulerHarness, exporter: InMemorySpanExporter
):
    for text in ("nonsense", "00-0-0-00", "", "00-zz-1-01 00-1"):
        row = system.execution(system.job(), trace_context=text)
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS

    assert len(named(exporter, "process ok")) == 4


def test_without_tracing_nothing_is_stored_and_nothing_imported(system: SchedulerHarness):
    with trace.get_tracer("shop").start_as_current_span("request"):
        row = system.control.run_now(system.job().pk)
    system.worker.execute(row.pk)

    assert fresh(row).trace_context is None
    code = (
        "import django, sys; django.setup(); import scheduler.worker.lifecycle, scheduler.api.urls;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tracing_without_opentelemetry_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conf, "find_spec", lambda name: None)

    with pytest.raises(ValidationError, match="jobu-scheduler\\[otel\\]"):
        SchedulerSettings(tracing=True)
