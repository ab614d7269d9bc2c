"""The address /metrics."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from scheduler.api.auth import identify
from scheduler.api.errors import respond, translate, unauthenticated
from scheduler.api.metrics import jobs, overall, parts, text
from scheduler.api.metrics.kept import Kept
from scheduler.conf import current
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action

ANSWER = Kept()


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
        settings = current().metrics
        page = ANSWER.get(_page, seconds=settings.kept_seconds, of=settings.max_jobs)
        return HttpResponse(page, content_type=text.CONTENT_TYPE)
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        return respond(known)


def _page() -> bytes:
    now = Control().clock.now()
    families = [
        *overall.families(now),
        *parts.families(now),
        *jobs.families(current().metrics.max_jobs),
    ]
    return text.page(families).encode()
