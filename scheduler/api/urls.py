"""Addresses of the API at /api/ and at /api/v1/ (both are the same), its documentation, probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, path, re_path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView
from ninja import NinjaAPI
from ninja.openapi.docs import Redoc, Swagger
from ninja.openapi.schema import OpenAPISchema

from scheduler import __version__
from scheduler.api import (
    alert_channels,
    alerts,
    backfills,
    cron_actions,
    cron_versions,
    crons,
    events,
    execution_actions,
    executions,
    failures,
    freezes,
    groups,
    handlers,
    history,
    me,
    probes,
    processes,
    queues,
    slots,
)
from scheduler.api.auth import identify, needs
from scheduler.api.errors import ApiError, install, of_status, respond, unauthenticated
from scheduler.api.metrics.view import metrics_view
from scheduler.api.strict_json import StrictParser
from scheduler.conf import SITE_NAME

# The documentation pages may load nothing from other hosts, although the bundled scripts try to.
_CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
_DESCRIPTION = """\
Jobs, their executions, and what a person may do with them. Sign in to the admin, or send a token:
`Authorization: Bearer jobu_...`. Every error is `{"error": {"code", "message", "fields"?}}`.
Answers show instants in UTC with microseconds. Every instant that you send must have a time zone.
"""


_PLAIN = (
    backfills, groups, freezes, failures, history, handlers, processes, queues, me,
    alert_channels, alerts,
)  # fmt: skip


class Api(NinjaAPI):
    _document: OpenAPISchema | None = None

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Returns the OpenAPI document. It is built once, because that takes about a second."""
        if self._document is None:
            self._document = self._build(**options)
        return self._document

    def _build(self, **options: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**options)
        error = {"schema": {"$ref": "#/components/schemas/ErrorOut"}}
        other = {"description": "Any other error", "content": {"application/json": error}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"]["default"] = other
        return schema


def build(namespace: str) -> Api:
    api = Api(
        title="jobu",
        version=__version__,
        description=_DESCRIPTION,
        urls_namespace=namespace,
        parser=StrictParser(),
        # An operation that names no action still needs a login.
        auth=needs(None),
        docs=Swagger(settings={"docExpansion": "none", "filter": True}),
        docs_decorator=_behind_login,
    )
    install(api)
    api.add_router("/crons", crons.router)
    api.add_router("/crons", cron_actions.router)
    api.add_router("/crons", cron_versions.router)
    api.add_router("/crons", slots.router)
    api.add_router("/jobs", executions.router)
    api.add_router("/jobs", execution_actions.router)
    api.add_router("/events", events.router)
    for plain in _PLAIN:
        api.add_router("", plain.router)
    return api


def _behind_login(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view, updated=())
    def guarded(request: HttpRequest, **options: Any) -> HttpResponse:
        try:
            caller = identify(request)
        except ApiError as error:
            return respond(error)
        if caller is None:
            if "text/html" not in request.headers.get("Accept", ""):
                return respond(unauthenticated())
            sign_in = reverse("admin:login", current_app=SITE_NAME)
            back = urlencode({"next": request.get_full_path()})
            return HttpResponseRedirect(f"{sign_in}?{back}")
        response = view(request, **options)
        response.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return response

    return guarded


def _answering(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answers HEAD wherever the view answers GET, and lets nobody keep what is answered."""

    @wraps(view)
    def answer(request: HttpRequest, **options: Any) -> HttpResponse:
        method = request.method
        if method == "HEAD":
            request.method = "GET"  # ninja knows no HEAD; the web server leaves out the body
        try:
            response = view(request, **options)
        finally:
            request.method = method
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer


def _urls(api: NinjaAPI) -> tuple[list[URLPattern | URLResolver], str, str]:
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            pattern.callback = _answering(pattern.callback)
    return patterns, app_name, namespace


@csrf_exempt  # an unknown address is 404 for everybody, also without a CSRF token
def _nothing_here(request: HttpRequest, rest: str = "") -> HttpResponse:
    return respond(of_status(404))


api = build("jobu-api")
api_v1 = build("jobu-api-v1")


def _redoc(request: HttpRequest) -> HttpResponse:
    return Redoc().render_page(request, api)


def _to(name: str) -> Callable[..., HttpResponseBase]:
    return RedirectView.as_view(pattern_name=name)


urlpatterns: list[URLPattern | URLResolver] = [
    path("health", probes.health_view, name="jobu-health"),
    path("health/scheduler", probes.scheduler_view, name="jobu-health-scheduler"),
    path("ready", probes.ready_view, name="jobu-ready"),
    path("metrics", metrics_view, name="jobu-metrics"),
    path("docs", _to("jobu-api:openapi-view")),
    path("openapi.json", _to("jobu-api:openapi-json")),
    path("redoc", _to("jobu-redoc")),
    path("api/redoc", _behind_login(_redoc), name="jobu-redoc"),
    path("api/v1/", _urls(api_v1)),
    path("api/", _urls(api)),
    re_path(r"^api(?:/(?P<rest>.*))?$", _nothing_here),
]


def _open(patterns: Iterable[URLPattern | URLResolver]) -> None:
    """Says to a project's LoginRequiredMiddleware that these views ask for the caller themselves.

    It would redirect a token's request to the sign-in, and the probes, too.
    """
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            _open(pattern.url_patterns)
        else:
            login_not_required(pattern.callback)


_open(urlpatterns)
