"""jobu's pages: importing this module registers them on their site (site.py)."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from scheduler.admin import (  # noqa: F401 - importing registers them
    accounts,
    personal,
    preferences,
    processes,
    saved_filters,
    tokens,
)
from scheduler.admin.activity import views as activity
from scheduler.admin.alerts import admin as _alerts  # noqa: F401
from scheduler.admin.alerts import channels
from scheduler.admin.backfills import admin as _backfills  # noqa: F401
from scheduler.admin.dashboard import views
from scheduler.admin.executions import admin as _executions  # noqa: F401
from scheduler.admin.failures import views as failures
from scheduler.admin.freezes import views as freezes
from scheduler.admin.groups import views as groups
from scheduler.admin.jobs import admin as _jobs  # noqa: F401
from scheduler.admin.palette import views as palette
from scheduler.admin.queues import views as queues
from scheduler.admin.site import is_own, reverse, site
from scheduler.admin.timeline import heat
from scheduler.admin.timeline import views as timeline
from scheduler.look import look


def furnish(theme_site: Any) -> None:
    """Gives a site of the theme jobu's front page and the pages of users and groups."""
    theme_site.index_template = "scheduler/dashboard/index.html"
    pages = (
        views, timeline, heat, queues, groups, freezes, channels, failures, activity, saved_filters,
        palette,
    )  # fmt: skip
    theme_site.extra_urls = lambda: [url for page in pages for url in page.urls(theme_site)]
    accounts.register(theme_site)


def _settings_of_the_theme() -> dict[str, Any]:
    """Returns our defaults, and what the project's JOBU_UNFOLD says instead."""
    languages = {
        "action": lambda request: reverse("admin:set-language"),
        "navigation": lambda request: [
            {"code": code, "name_local": name} for code, name in personal.languages()
        ],
    }
    ours = look(has_accounts=accounts.are_possible())
    return {**ours, "LANGUAGES": languages, **getattr(settings, site.settings_name, {})}


if is_own:
    furnish(site)
    setattr(settings, site.settings_name, _settings_of_the_theme())
