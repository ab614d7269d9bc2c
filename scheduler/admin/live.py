"""The server's side of static/scheduler/live.js: pages that stay up to date by asking again.

Polling, not server-sent events: an open stream would hold one of gunicorn's few workers per open
page, and 204 costs a query or two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def mark_of(*state: object) -> str:
    """A short name for what a fragment shows: equal marks, equal fragments."""
    return hashlib.sha1(repr(state).encode(), usedforsecurity=False).hexdigest()[:16]


def answer(
    request: HttpRequest, *, mark: str, render: Callable[[], str], is_done: bool = False
) -> HttpResponse:
    """204 when the page already shows the state `mark`, else what `render` gives.

    `is_done`: nothing will change any more, and the page stops asking.
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
