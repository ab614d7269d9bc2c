"""Shows pages in the time zone and language that the user has chosen (models.Preference)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.views import i18n

from scheduler.models import Preference


class PreferenceMiddleware:
    """Activates the user's time zone and language on pages of the admin.

    It comes after LocaleMiddleware, because a user without a preference keeps its choice (cookie,
    Accept-Language, configuration), and after the authentication, because it needs the user. It
    skips other addresses: pages such as /health must not need the database.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self._get_response(request)
        finally:
            # The thread serves other users next. LocaleMiddleware sets the language for each
            # request, but nothing else resets the time zone.
            timezone.deactivate()

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        match = request.resolver_match
        if match is None or not _is_page(match.namespaces, match.route):
            return
        if not request.user.is_authenticated:
            return
        found = Preference.objects.filter(user_id=request.user.pk).first()
        if found is None:
            return
        zone = _zone(found.timezone)
        if zone is not None:
            timezone.activate(zone)
        if found.language in dict(settings.LANGUAGES):
            translation.activate(found.language)
            request.LANGUAGE_CODE = translation.get_language()


def set_language(request: HttpRequest) -> HttpResponse:
    """Sets the language from the language switch of a page.

    Django's view sets a cookie. A stored preference would override the cookie, so this view changes
    the preference as well.
    """
    language = request.POST.get("language")
    is_known = request.method == "POST" and language in dict(settings.LANGUAGES)
    if is_known and request.user.is_authenticated:
        chosen = Preference.objects.filter(user_id=request.user.pk).exclude(language="")
        chosen.update(language=language)
    return i18n.set_language(request)


def _is_page(namespaces: list[str], route: str) -> bool:
    return "admin" in namespaces or route.startswith("admin/")


def _zone(name: str) -> ZoneInfo | None:
    """Returns the zone, or None if the name is empty or this host does not know it."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
