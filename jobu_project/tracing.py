"""Where the spans of the ready-made project's processes go, if the setting `tracing` is on.

OpenTelemetry's own variables say the rest: OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, others.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from django.core.exceptions import ImproperlyConfigured


def start(exporter: str) -> None:
    """Send this process's spans to an exporter, by its name as in OTEL_TRACES_EXPORTER.

    Does nothing if another program, such as opentelemetry-instrument, has set up a provider before.
    Raises ImproperlyConfigured if the SDK or the exporter is not installed.
    """
    from opentelemetry import trace

    if exporter == "none" or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ImproperlyConfigured(
            "scheduler.tracing needs OpenTelemetry's SDK: pip install opentelemetry-sdk"
        ) from None
    found = entry_points(group="opentelemetry_traces_exporter")
    if exporter not in found.names:
        hint = " pip install opentelemetry-exporter-otlp" if exporter == "otlp" else ""
        raise ImproperlyConfigured(
            f"scheduler.traces_exporter: no exporter named {exporter!r} is installed"
            f" ({', '.join(sorted(found.names))} are).{hint}"
        )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(found[exporter].load()()))
    trace.set_tracer_provider(provider)
