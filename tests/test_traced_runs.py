"""Traces of the ready-made project's worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ImproperlyConfigured
from opentelemetry import trace

from jobu_project import tracing
from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    execution,
    insert_run,
    wait_until_final,
)
from tests.harness.receivers import http_server
from tests.harness.system import System, deep_merge


@pytest.mark.processes
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_sends_its_spans_to_the_exporter(
    system: Callable[..., System], ledger: Ledger, pool: str
) -> None:
    config = {"scheduler": {"tracing": True, "traces_exporter": "console"}}
    jobu = system(
        config=deep_merge(SHORT, config),
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path), "OTEL_BSP_SCHEDULE_DELAY": "100"},
    )
    jobu.migrate()
    worker = jobu.start_worker(pool=pool)

    run = insert_run(jobu, "ledger")
    wait_until_final(jobu, run, 60)

    worker.wait_for_log('"name": "process ledger"')
    (attempt,) = execution(jobu, run)["trace_context"].split(" ")[1:]
    assert attempt.split("-")[1] in worker.log()


@pytest.mark.processes
def test_a_collector_that_speaks_otlp_over_http_receives_them(
    system: Callable[..., System], ledger: Ledger
) -> None:
    # requirements-dev.txt has it; the test is about the wire, which needs its classes.
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with http_server() as collector:
        config = {"scheduler": {"tracing": True, "traces_exporter": "otlp"}}
        jobu = system(
            config=deep_merge(SHORT, config),
            handler_paths=(HANDLERS,),
            environment={
                "JOBU_TEST_LEDGER": str(ledger.path),
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_SERVICE_NAME": "our jobs",
            },
        )
        jobu.migrate()
        jobu.start_worker(pool="threads")
        run = insert_run(jobu, "ledger")
        wait_until_final(jobu, run, 60)
        jobu.wait_until(lambda: collector.requests, 30, "a request to the collector")

        (request, *_) = collector.requests
        assert request.path == "/v1/traces"
        sent = service.ExportTraceServiceRequest.FromString(request.body).resource_spans[0]
        names = {each.key: each.value.string_value for each in sent.resource.attributes}
        (span,) = [each for scope in sent.scope_spans for each in scope.spans]
    assert names["service.name"] == "our jobs"
    assert span.name == "process ledger"
    (attempt,) = execution(jobu, run)["trace_context"].split(" ")[1:]
    assert attempt.split("-")[1:3] == [span.trace_id.hex(), span.span_id.hex()]


@pytest.mark.parametrize(
    ("protocol", "installed", "expected"),
    [
        (None, ["otlp_proto_http", "console"], "otlp_proto_http"),
        (None, ["otlp_proto_http", "otlp_proto_grpc"], "otlp_proto_grpc"),
        ("http/protobuf", ["otlp_proto_grpc", "otlp_proto_http"], "otlp_proto_http"),
        ("grpc", ["otlp_proto_grpc", "otlp_proto_http"], "otlp_proto_grpc"),
        ("grpc", ["otlp_proto_http"], "otlp_proto_grpc"),  # refused, with its name
    ],
)
def test_otlp_means_the_exporter_of_the_protocol(
    protocol: str | None, installed: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL", raising=False)
    if protocol is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)

    assert tracing._by_protocol("otlp", installed) == expected
    assert tracing._by_protocol("console", installed) == "console"


def test_an_exporter_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a process in which nobody has set up a provider. Another test of this process may have.
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)

    with pytest.raises(ImproperlyConfigured, match=r"'nosuch'.*console"):
        tracing.start("nosuch")
