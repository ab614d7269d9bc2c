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
from scheduler.clock import DatabaseClock
from scheduler.operations import health
from scheduler.store.connection import database_now

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
