"""/health and /ready: for programs that monitor jobu. They need no login."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from scheduler import __version__
from scheduler.alerts import outside
from scheduler.api.auth import identify
from scheduler.api.errors import respond, translate, unauthenticated
from scheduler.clock import DatabaseClock
from scheduler.models import JobExecution
from scheduler.operations import health, liveness
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action
from scheduler.states import FINAL, JobState
from scheduler.store import statistics
from scheduler.store.connection import database_now
from scheduler.store.deliveries import NO_DELIVERY

logger = logging.getLogger("jobu.health")

# The caller of /health decides from the answer whether to restart this process, so the answer must
# be fast even when the database hangs.
_HEALTH_SECONDS: Final = 0.5


@never_cache
@require_safe
def health_view(request: HttpRequest) -> JsonResponse:
    """Always 200: this process answers. The state of the database in the body is for people."""
    state = health.database_state(timeout=_HEALTH_SECONDS)
    is_there = state == health.DatabaseState.CONNECTED
    clock = health.clock_state(timeout=_HEALTH_SECONDS) if is_there else None
    return JsonResponse(
        {
            "status": "ok",
            "database": state.value,
            "clock": clock.value if clock else "unknown",
            "version": __version__,
        }
    )


_scheduler = outside.Health(outside.ask, DatabaseClock(database_now, 0).monotonic)


@never_cache
@require_safe
def scheduler_view(request: HttpRequest) -> JsonResponse:
    """200 if a beat ticks and no work waits for a worker, else 503. No details: anybody may ask."""
    is_well = _scheduler.is_well()
    return JsonResponse({"status": "ok" if is_well else "failed"}, status=200 if is_well else 503)


@never_cache
@require_safe
def ready_view(request: HttpRequest) -> JsonResponse:
    """200 if the database and the broker answer now, else 503 with the names of those that do not.

    Everybody may read it, so only the log says what exactly is wrong.
    """
    problems = {
        part: problem
        for part, problem in (
            ("database", health.check_database()),
            ("broker", health.check_broker()),
        )
        if problem
    }
    _report(problems)
    parts = {part: "failed" if part in problems else "ok" for part in ("database", "broker")}
    status = "not ready" if problems else "ready"
    body = {"status": status, **parts, "failed": sorted(problems)}
    return JsonResponse(body, status=503 if problems else 200)


_reported: frozenset[str] = frozenset()


def _report(problems: Mapping[str, str]) -> None:
    """Logs one line when a part fails and one when it recovers, not one for each request."""
    global _reported
    for part in sorted(problems.keys() - _reported):
        logger.warning("not ready: %s: %s", part, problems[part])
    for part in sorted(_reported - problems.keys()):
        logger.warning("ready again: %s", part)
    _reported = frozenset(problems)


@never_cache
@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Metrics in Prometheus' text format. Every web process returns the same, from the tables."""
    try:
        caller = identify(request)
        if caller is None:
            return respond(unauthenticated())
        caller.require(Action.VIEW_EXECUTIONS)
        caller.require(Action.VIEW_PROCESSES)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Tables(Control().clock.now()))
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        return respond(known)


class _Tables(Collector):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()  # without this, the registry would call `collect` once at registration

    def collect(self) -> Iterable[Metric]:
        seen = liveness.liveness(self._now)
        yield _gauge("jobu_executions_pending", "Executions that wait.", seen.pending)
        yield _gauge("jobu_executions_running", "Executions that run.", seen.running)
        yield _ended(self._now)
        yield _gauge(
            "jobu_oldest_waiting_seconds",
            "How long the run waits that a worker could have begun first; 0: none waits.",
            seen.oldest_waiting_seconds or 0,
        )
        if seen.beat_age_seconds is not None:
            yield _gauge(
                "jobu_beat_age_seconds", "Since any beat's newest heartbeat.", seen.beat_age_seconds
            )
        yield _gauge("jobu_beats", "Beats with a recent heartbeat.", seen.beats_alive)
        yield _gauge("jobu_workers", "Workers with a recent heartbeat.", seen.workers_alive)
        yield _gauge(
            "jobu_clock_offset_seconds",
            "The database's clock minus this host's. More than 5 or less than -5 is an alarm.",
            seen.clock_offset_seconds,
        )
        yield _gauge(
            "jobu_clock_behind_seconds",
            "How far the database's clock stands before its own latest time. More than 5: no job "
            "starts by its schedule until it gets there.",
            seen.clock_behind_seconds,
        )
        yield _jobs(self._now)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _ended(now: datetime) -> Metric:
    metric = GaugeMetricFamily(
        "jobu_executions_ended_recently",
        f"Executions that ended in the last {WINDOW.total_seconds():.0f} seconds.",
        labels=["status"],
    )
    ended = JobExecution.objects.filter(NO_DELIVERY, finished_at__gt=now - WINDOW)
    counts = dict(ended.order_by().values_list("status").annotate(Count("id")))
    for status in sorted(FINAL):
        metric.add_metric([status], counts.get(status, 0))
    return metric


def _jobs(now: datetime) -> Metric:
    metric = GaugeMetricFamily("jobu_jobs", "Jobs by state.", labels=["state"])
    counts = statistics.job_counts(overdue_before=now - liveness.OVERDUE_AFTER)
    metric.add_metric([JobState.ENABLED], counts.enabled)
    metric.add_metric([JobState.DISABLED], counts.disabled)
    metric.add_metric([JobState.PAUSED], counts.paused)
    metric.add_metric([JobState.ERROR], counts.broken)
    return metric
