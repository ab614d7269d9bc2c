"""Shows pages in the time zone and language that the user has chosen (models.Preference).

jobu's own site does so by itself. On the project's site the middleware does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.views import i18n

from scheduler.models import Preference

#: The languages of jobu's texts.
TRANSLATED: Final = frozenset({"en", "ko"})
LOCALE_MIDDLEWARE: Final = "django.middleware.locale.LocaleMiddleware"


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
        if match is None or "admin" not in match.app_names:
            return
        zone, language = _preference(request)
        if zone is not None:
            timezone.activate(zone)
        if language is not None:
            translation.activate(language)
            request.LANGUAGE_CODE = translation.get_language()


@contextmanager
def preferred(request: HttpRequest) -> Iterator[None]:
    """What is rendered inside has the user's time zone and language."""
    zone, language = _preference(request)
    with ExitStack() as stack:
        if zone is not None:
            stack.enter_context(timezone.override(zone))
        if language is not None:
            stack.enter_context(translation.override(language))
            request.LANGUAGE_CODE = translation.get_language()
        yield


def _preference(request: HttpRequest) -> tuple[ZoneInfo | None, str | None]:
    """Returns the user's time zone and language. None: as configured."""
    if not request.user.is_authenticated:
        return None, None
    found = Preference.objects.filter(user_id=request.user.pk).first()
    if found is None:
        return None, None
    return _zone(found.timezone), found.language if found.language in dict(languages()) else None


def languages() -> list[tuple[str, str]]:
    """Returns the languages of jobu's texts that the project has: (code, name) of each."""
    return [(code, str(name)) for code, name in settings.LANGUAGES if code in TRANSLATED]


def set_language(request: HttpRequest) -> HttpResponse:
    """Sets the language from the language switch of a page.

    Django's view sets a cookie. A stored preference would override the cookie, so this view changes
    the preference as well. Without LocaleMiddleware nobody reads the cookie, so that it makes one.
    """
    language = request.POST.get("language", "")
    is_known = request.method == "POST" and language in dict(languages())
    if is_known and request.user.is_authenticated:
        mine = Preference.objects.filter(user_id=request.user.pk)
        if LOCALE_MIDDLEWARE in settings.MIDDLEWARE:
            mine.exclude(language="").update(language=language)
        else:
            mine.update_or_create(user_id=request.user.pk, defaults={"language": language})
    return i18n.set_language(request)


def _zone(name: str) -> ZoneInfo | None:
    """Returns the zone, or None if the name is empty or this host does not know it."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
