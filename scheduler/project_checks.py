"""System checks for a project of one's own: what is missing in it, and the line to write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.urls import URLResolver, get_resolver

from scheduler.conf import current, is_own_project
from scheduler.operations.celery_app import own_app
from scheduler.operations.project_app import FALLBACK

_URLS: Final = "scheduler.urls"
_ADMIN: Final = "django.contrib.admin"
_THEME: Final = "unfold"
_PAGES_NEED: Final = (_ADMIN, _THEME, "unfold.contrib.filters", "ninja")


@register()
def check_project(**_: Any) -> list[CheckMessage]:
    return [*_celery_app(), *_handlers(), *_theme()]


@register(Tags.urls)
def check_urls(**_: Any) -> list[CheckMessage]:
    """Whether the pages can be shown. Django has imported the URLs for its own checks."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    places = list(_places(get_resolver(), ()))
    found: list[CheckMessage] = [
        Error(
            f"{_URLS} is included in the namespace {':'.join(namespaces)!r}: no page of jobu would"
            " find the others.",
            hint='path("jobu/", include("scheduler.urls"))',
            id="jobu.E031",
        )
        for namespaces in places
        if namespaces
    ]
    if len(places) > 1:
        found.append(
            Error(
                f"{_URLS} is included {len(places)} times.",
                hint='Once is enough: path("jobu/", include("scheduler.urls"))',
                id="jobu.E031",
            )
        )
    if places or current().admin_site == "project":
        found += _missing_apps()
    return found


def _places(resolver: URLResolver, namespaces: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yields for each include of our URLs the namespaces around it."""
    for pattern in resolver.url_patterns:
        if not isinstance(pattern, URLResolver):
            continue
        around = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
        if pattern.urlconf_name is sys.modules.get(_URLS, _URLS):
            yield around
        else:
            yield from _places(pattern, around)


def _missing_apps() -> Iterator[CheckMessage]:
    missing = [name for name in _PAGES_NEED if not apps.is_installed(name)]
    if missing:
        names = ["unfold.apps.BasicAppConfig" if name == _THEME else name for name in missing]
        yield Error(
            f"jobu's pages need apps that are not installed: {', '.join(missing)}.",
            hint=f"INSTALLED_APPS += {names!r}, after {_ADMIN!r}",
            id="jobu.E032",
        )


def _theme() -> Iterator[CheckMessage]:
    names = [config.name for config in apps.get_app_configs()]
    if _THEME not in names or _ADMIN not in names:
        return
    is_first = names.index(_THEME) < names.index(_ADMIN)
    changes_the_site = type(apps.get_app_config(_THEME)).__name__ != "BasicAppConfig"
    if is_first and not changes_the_site:
        yield Error(
            "unfold.apps.BasicAppConfig stands before django.contrib.admin: each page of the"
            " project's admin would fail.",
            hint="Move it behind 'django.contrib.admin'. Or write 'unfold' in its place, if the"
            " project's admin should have the theme.",
            id="jobu.E033",
        )
    if changes_the_site and not is_first:
        yield Error(
            "'unfold' stands behind django.contrib.admin: it would replace the project's admin site"
            " by an empty one.",
            hint="Write 'unfold.apps.BasicAppConfig' in its place. Or move it before"
            " 'django.contrib.admin', if the project's admin should have the theme.",
            id="jobu.E034",
        )


def _celery_app() -> Iterator[CheckMessage]:
    if own_app().main == FALLBACK:
        yield Error(
            "The project has no Celery app, or jobu cannot find it.",
            hint='Make it in celery.py beside the settings, or write JOBU["celery_app"] ='
            ' "shop.celery:app".',
            id="jobu.E030",
        )


def _handlers() -> Iterator[CheckMessage]:
    """For a project of one's own: the ready-made one logs it, and tests have broken modules."""
    if not is_own_project():
        return
    config: Any = apps.get_app_config("scheduler")
    for module, error in config.discovered.failures:
        yield Warning(
            f"Handlers of {module} are missing: it cannot be imported: {error}",
            hint='JOBU["handler_packages"] names packages that can be imported, such as'
            ' "shop.jobs".',
            id="jobu.W035",
        )
