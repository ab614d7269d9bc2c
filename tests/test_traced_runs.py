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


def test_an_exporter_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a process in which nobody has set up a provider. Another test of this process may have.
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)

    with pytest.raises(ImproperlyConfigured, match=r"'nosuch'.*console"):
        tracing.start("nosuch")
