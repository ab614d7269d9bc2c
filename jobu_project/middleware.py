"""Static files, a log line for each request, and the API's error shape for errors of Django."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from scheduler.api.errors import database_unavailable, of_status, respond
from scheduler.operations import health
from scheduler.operations.masking import MASK
from scheduler.operations.secret_names import looks_secret

logger = logging.getLogger("jobu.request")

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Machines request these every few seconds. Their lines would hide the others.
_PROBES: Final = frozenset({"/health", "/health/scheduler", "/ready", "/metrics"})
# A load balancer or a kubelet requests these by IP address, which is no allowed host. The views do
# not use the host.
_ASKED_BY_ADDRESS: Final = frozenset({"/health", "/health/scheduler", "/ready"})
_LONGEST_QUERY: Final = 500
# Requests that pass without a check of the database, of the 8 threads that the launcher gives the
# web process.
_UNCHECKED_REQUESTS: Final = 4


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves what collectstatic has collected, or the packages' own files before it has run."""

    def add_files(self, root: str, prefix: str | None = None) -> None:
        if os.path.isdir(root):
            super().add_files(root, prefix)
        else:
            self.use_finders = True


class RequestLog:
    """`GET /api/crons?page=2 200 12 ms alice` at INFO; probes and live pages at DEBUG."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        start = time.monotonic()
        response = self.get_response(request)
        took = round((time.monotonic() - start) * 1000)
        path = path_of(request)
        user = user_of(request)
        logger.log(
            logging.DEBUG if _is_routine(request, response) else logging.INFO,
            "%s %s %s %s ms %s",
            request.method,
            path,
            response.status_code,
            took,
            user,
            extra={
                "method": request.method,
                "path": path,
                "status": response.status_code,
                "ms": took,
                "user": user,
            },
        )
        return response


def _is_routine(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Whether a machine or an open page (live.js) requests this every few seconds."""
    is_live = "X-Live-Mark" in request.headers and response.status_code < 400
    return request.path in _PROBES or is_live


def path_of(request: HttpRequest) -> str:
    """Returns the path with its query on one line. Values of secrets are masked."""
    path = quote(request.path, safe="/:@!$&'()*+,;=~-._")
    query = request.META.get("QUERY_STRING", "")
    if not query:
        return path
    pairs = [
        (key, MASK if looks_secret(key) else value)
        for key, value in parse_qsl(query[: 4 * _LONGEST_QUERY], keep_blank_values=True)
    ]
    return f"{path}?{urlencode(pairs, safe='*:/,')[:_LONGEST_QUERY]}"


def user_of(request: HttpRequest) -> str:
    """Returns the user's name, or `-`. Loads no session that the page has not loaded."""
    caller = getattr(request, "caller", None)
    if caller is not None:
        return str(caller.shown)
    user = getattr(request, "_cached_user", None)
    return str(user.get_username()) if user is not None and user.is_authenticated else "-"


class DatabaseGate:
    """Keeps threads free for /health while the database hangs.

    A request that waits for a frozen database holds its thread. When several requests are under
    way, the next one first asks whether the database answers, and is refused if it does not.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._lock = threading.Lock()
        self._under_way = 0
        self._refusing_until = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path in _PROBES:
            return self.get_response(request)
        with self._lock:
            self._under_way += 1
            is_crowded = self._under_way > _UNCHECKED_REQUESTS
        try:
            if is_crowded and self._database_hangs():
                error = database_unavailable()
                if request.path.startswith("/api/"):
                    return respond(error)
                return HttpResponse(
                    error.message, status=503, content_type="text/plain", headers=error.headers
                )
            return self.get_response(request)
        finally:
            with self._lock:
                self._under_way -= 1

    def _database_hangs(self) -> bool:
        if time.monotonic() < self._refusing_until:
            return True
        if health.check_database(timeout=0.5) is None:
            return False
        self._refusing_until = time.monotonic() + 1
        return True


class Common(CommonMiddleware):
    """Django's middleware, which refuses unknown hosts. Probes may use the IP address."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path in _ASKED_BY_ADDRESS:
            return None
        return super().process_request(request)


class ApiErrors:
    """Gives the API's shape to errors that Django and its middleware return below /api/."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code < 400 or not request.path.startswith("/api/"):
            return response
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return response
        shaped = respond(of_status(response.status_code))
        for header in ("Allow", "Retry-After", "Vary"):
            if header in response.headers:
                shaped.headers[header] = response.headers[header]
        return _keeping_cookies(shaped, response)


def _keeping_cookies(shaped: HttpResponse, response: HttpResponseBase) -> HttpResponse:
    shaped.cookies = response.cookies
    return shaped
