"""Where the spans of the ready-made project's processes go, if the setting `tracing` is on.

OpenTelemetry's own variables say the rest: OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, others.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.metadata import entry_points
from typing import Final

from django.core.exceptions import ImproperlyConfigured

_OTLP: Final = "otlp"
_PROTOCOLS: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


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
    exporter = _by_protocol(exporter, found.names)
    if exporter not in found.names:
        is_otlp = exporter.startswith(_OTLP)
        hint = " pip install opentelemetry-exporter-otlp" if is_otlp else ""
        raise ImproperlyConfigured(
            f"scheduler.traces_exporter: no exporter named {exporter!r} is installed"
            f" ({', '.join(sorted(found.names))} are).{hint}"
        )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(found[exporter].load()()))
    trace.set_tracer_provider(provider)


def _by_protocol(exporter: str, installed: Collection[str]) -> str:
    """Returns which exporter `otlp` means: each protocol of OTLP has one of its own.

    OTEL_EXPORTER_OTLP_PROTOCOL decides, as everywhere in OpenTelemetry, else what is installed.
    """
    if exporter != _OTLP:
        return exporter
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    wanted = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    names = [_PROTOCOLS.get(wanted, wanted)] if wanted else list(_PROTOCOLS.values())
    return next((name for name in names if name in installed), names[0])
