"""Where a run was asked for, as OpenTelemetry knows it: the span that is open there.

Nothing of OpenTelemetry is imported while the setting `tracing` is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.conf import current

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext


def current_context() -> str | None:
    """The open span as W3C's `traceparent`, to be kept with a new run. None: there is none."""
    if not current().tracing:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return traceparent(context) if context.is_valid else None


def traceparent(context: SpanContext) -> str:
    """The context as W3C writes it."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
