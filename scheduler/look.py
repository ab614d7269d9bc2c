"""The settings of the theme for jobu's pages: their titles, the side bar, links of the user menu.

The ready-made project has them as UNFOLD, jobu's own site in another project as JOBU_UNFOLD.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

from scheduler.conf import SITE_NAME

Group = dict[str, Any]


def look(*, groups: Sequence[Group] = (), has_accounts: bool = True) -> dict[str, Any]:
    """Returns the settings of the theme.

    `groups`: further parts of the side bar, below jobu's. `has_accounts`: the site has pages for
    users and groups.
    """
    people = [
        page(_("Users"), "person", "auth_user", "auth.view_user"),
        page(_("Groups"), "group", "auth_group", "auth.view_group"),
    ]
    return {
        "SITE_TITLE": "jobu",
        "SITE_HEADER": "jobu",
        "SITE_SYMBOL": "schedule",
        "STYLES": [
            lambda request: static("scheduler/no_script.css"),
            lambda request: static("scheduler/accessible.css"),
        ],
        "SCRIPTS": [lambda request: static("scheduler/keyboard.js")],
        "SITE_FAVICONS": [{"rel": "icon", "href": lazy(static, str)("scheduler/favicon.svg")}],
        "DASHBOARD_CALLBACK": "scheduler.admin.dashboard.views.index",
        "SHOW_LANGUAGES": True,
        "ACCOUNT": {
            "navigation": [
                {
                    "title": _("Time zone and language"),
                    "link": address("scheduler_preference_changelist"),
                },
                {"title": _("Change password"), "link": address("password_change")},
            ],
        },
        "SIDEBAR": {
            "navigation": [
                _SCHEDULER,
                *groups,
                *([{"title": _("People"), "items": people}] if has_accounts else []),
                _API,
            ]
        },
    }


def address(name: str) -> Any:
    """Returns the address of a page of the admin, as a lazy text."""
    return reverse_lazy(f"admin:{name}", current_app=SITE_NAME)


def page(title: Any, icon: str, name: str, permission: str) -> dict[str, Any]:
    """Returns an entry of the side bar for the list of a model, for users with `permission`."""

    return _own_page(title, icon, f"{name}_changelist", permission)


def _own_page(title: Any, icon: str, name: str, permission: str) -> dict[str, Any]:
    def may(request: Any) -> bool:
        return bool(request.user.has_perm(permission))

    return {"title": title, "icon": icon, "link": address(name), "permission": may}


_SCHEDULER: Final[Group] = {
    "title": _("Scheduler"),
    "items": [
        {"title": _("Dashboard"), "icon": "dashboard", "link": address("index")},
        page(_("Jobs"), "event_repeat", "scheduler_cronjob", "scheduler.view_cronjob"),
        page(
            _("Executions"),
            "play_circle",
            "scheduler_jobexecution",
            "scheduler.view_jobexecution",
        ),
        _own_page(_("Failures"), "error", "failures", "scheduler.view_jobexecution"),
        _own_page(_("Timeline"), "view_timeline", "timeline", "scheduler.view_cronjob"),
        page(_("Backfills"), "history", "scheduler_backfill", "scheduler.view_cronjob"),
        _own_page(_("Limits"), "speed", "groups", "scheduler.view_cronjob"),
        _own_page(_("Queues"), "stacks", "queues", "scheduler.view_schedulerprocess"),
        _own_page(_("Freezes"), "ac_unit", "freezes", "scheduler.view_cronjob"),
        page(_("Alerts"), "notifications", "scheduler_alert", "scheduler.view_alert"),
        _own_page(_("Channels"), "campaign", "channels", "scheduler.view_alert"),
        _own_page(_("Activity"), "manage_history", "activity", "scheduler.view_cronjob"),
        page(
            _("Processes"),
            "monitor_heart",
            "scheduler_schedulerprocess",
            "scheduler.view_schedulerprocess",
        ),
    ],
}
_API: Final[Group] = {
    "title": _("API"),
    "items": [
        # Every user sees this page, with their own tokens.
        {
            "title": _("API tokens"),
            "icon": "key",
            "link": address("scheduler_apitoken_changelist"),
        },
        {
            "title": _("API documentation"),
            "icon": "api",
            "link": reverse_lazy("jobu-api:openapi-view"),
        },
    ],
}
