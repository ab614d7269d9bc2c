"""The answer to what somebody types in the palette, as JSON. The script shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import URLPattern, path

from scheduler.admin.palette.found import find


def urls(site: Any) -> list[URLPattern]:
    """Returns the address of the palette on this admin site."""
    return [path("palette/", site.admin_view(_found), name="palette")]


def _found(request: HttpRequest) -> JsonResponse:
    items = find(request.user, request.GET.get("q", ""))
    response = JsonResponse({"items": [asdict(item) for item in items]})
    response["Cache-Control"] = "no-store"
    return response
