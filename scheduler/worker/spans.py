"""Attempts as spans of OpenTelemetry, and the SQL of handlers below them.

All attempts of a run are in one trace: that of the span which asked for the run, or of its first
attempt. Each one is linked to the attempt before it, also to one that was lost with its worker: its
context was stored when it began. Trouble with traces disturbs no run. Nobody imports this module
while the setting `tracing` is off.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db import Error, connection
from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from dbpools import DatabaseRegistry, StatementEvent, UnknownDatabaseError, add_statement_listener
from dbpools.sqllog import FAILED_ROWS
from handlers.runner import Outcome, OutcomeKind
from scheduler import __version__
from scheduler.clock import host_timestamp
from scheduler.operations.celery_app import own_app
from scheduler.operations.tracing import traceparent
from scheduler.store import traces
from scheduler.store.claims import Claimed
from scheduler.worker.lease import HeldRun
from scheduler.worker.tracing import NoTracing

_DB_SYSTEMS: Final = {"postgres": "postgresql"}
_FAILED: Final = frozenset({OutcomeKind.FAILED, OutcomeKind.TIMEOUT, OutcomeKind.INVALID})


class Tracing(NoTracing):
    """Spans of the user's own tracer provider. Made after the fork."""

    def __init__(self) -> None:
        self._tracer = _tracer()
        self._spans: dict[str, Span] = {}
        _trace_statements()

    def begin(self, started: Sequence[Claimed]) -> None:
        known = self._known(started)
        contexts: dict[int, str] = {}
        for claimed in started:
            first, _, newest = known.get(claimed.row.id, "").partition(" ")
            span = self._open(claimed, _parsed(first), _parsed(newest))
            self._spans[claimed.lease.token] = span
            context = span.get_span_context()
            own = traceparent(context)
            if context.is_valid and own != first:  # the same, if no tracer provider is set up
                contexts[claimed.row.id] = f"{first or own} {own}"
        try:
            traces.write(contexts)
        except Error:
            connection.close()

    @staticmethod
    def _known(started: Sequence[Claimed]) -> dict[int, str]:
        try:
            return traces.read([claimed.row.id for claimed in started])
        except Error:
            connection.close()
            return {}

    def _open(
        self, claimed: Claimed, first: SpanContext | None, newest: SpanContext | None
    ) -> Span:
        row, lease = claimed.row, claimed.lease
        above = Context()
        if first is not None:
            above = set_span_in_context(NonRecordingSpan(first), above)
        queue = row.queue or str(own_app().conf.task_default_queue)
        return self._tracer.start_span(
            f"process {row.handler_name}",
            context=above,
            kind=SpanKind.CONSUMER,
            links=[Link(newest)] if newest is not None else None,
            attributes={
                "messaging.system": "jobu",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": queue,
                "messaging.message.id": str(row.id),
                "messaging.client.id": lease.owner,
                "jobu.handler": row.handler_name,
                "jobu.job": row.job_name,
                "jobu.attempt": lease.attempt,
                "jobu.source": row.param_source,
                "jobu.scheduled_time": row.scheduled_time.isoformat(),
            },
        )

    def enter(self, claimed: Claimed, context: contextvars.Context) -> None:
        span = self._spans.get(claimed.lease.token)
        if span is not None:
            context.run(attach, set_span_in_context(span))

    def end(self, held: HeldRun, outcome: Outcome) -> None:
        span = self._spans.pop(held.lease.token, None)
        if span is None:
            return
        span.set_attribute("jobu.outcome", outcome.kind.value)
        if outcome.kind in _FAILED:
            # Not the message of the error: a value of a parameter may be in it.
            kind = outcome.exception_class or outcome.error_class or outcome.kind.value
            span.set_attribute("error.type", kind)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _tracer() -> Tracer:
    return trace.get_tracer("jobu", __version__)


def _parsed(text: str) -> SpanContext | None:
    """The context of a `traceparent`. None: it is none, as SQL may have written it."""
    try:
        version, trace_id, span_id, flags = text.split("-")
        found = SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
        )
    except ValueError:
        return None
    return found if version == "00" and found.is_valid else None


# --- SQL of handlers ------------------------------------------------------------------------------

_stop_listening: Callable[[], None] | None = None


def _trace_statements() -> None:
    global _stop_listening
    if _stop_listening is None:
        _stop_listening = add_statement_listener(_statement_ended)


def stop_tracing_statements() -> None:
    """For tests."""
    global _stop_listening
    if _stop_listening is not None:
        _stop_listening()
        _stop_listening = None


def _statement_ended(event: StatementEvent) -> None:
    """Called on the loop, in the context of whoever ran the statement."""
    if not trace.get_current_span().is_recording():
        return  # of no run, or not sampled
    ended_ns = int(host_timestamp() * 1e9)
    attributes: dict[str, Any] = {
        "db.system.name": _system_of(event.database),
        "db.query.summary": event.query,
        "jobu.database": event.database,
    }
    has_failed = event.rows == FAILED_ROWS
    if not has_failed:
        attributes["db.response.returned_rows"] = event.rows
    span = _tracer().start_span(
        event.query,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=ended_ns - int(event.elapsed_ms * 1e6),
    )
    if has_failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(ended_ns)


def _system_of(database: str) -> str:
    try:
        kind = DatabaseRegistry.get(database).db_type
    except UnknownDatabaseError:
        return "other_sql"
    return _DB_SYSTEMS.get(kind, kind)
