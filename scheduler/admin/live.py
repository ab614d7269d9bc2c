"""The server's part of static/scheduler/live.js: pages that update themselves by polling.

Polling is cheaper than server-sent events here: an open stream would occupy one of gunicorn's few
workers per open page, and an answer 204 costs one or two queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def mark_of(*state: object) -> str:
    """Returns a short hash of a fragment's state: equal marks mean equal fragments."""
    return hashlib.sha1(repr(state).encode(), usedforsecurity=False).hexdigest()[:16]


def answer(
    request: HttpRequest, *, mark: str, render: Callable[[], str], is_done: bool = False
) -> HttpResponse:
    """Returns 204 if the page already shows the state `mark`, else the result of `render`.

    `is_done` means that nothing changes any more: the page stops polling.
    """
    if request.headers.get("X-Live-Mark") == mark:
        response = HttpResponse(status=204)
    else:
        response = HttpResponse(render())
    response["X-Live-Mark"] = mark
    response["Cache-Control"] = "no-store"
    if is_done:
        response["X-Live"] = "done"
    return response
