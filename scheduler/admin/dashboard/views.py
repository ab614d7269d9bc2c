"""The views of the front page.

`index` fills the whole page. `now_part` and `charts_part` return parts of it for live.js: the
first every 5 seconds, the second, which costs more, every minute. Slow computations run in parts
under a deadline: a page that appears at once and is marked as incomplete is more useful in an
incident than a complete page that loads slowly.

scheduler/store/statistics.py and forecast.py compute the numbers.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext as _

from scheduler.admin.dashboard import limits, next_runs
from scheduler.admin.dashboard.charts import charts_context
from scheduler.admin.dashboard.now import now_context
from scheduler.admin.site import render, reverse
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Returns the context of the admin's index (UNFOLD's DASHBOARD_CALLBACK)."""
    sees = _sees(request)
    if not (sees["jobs"] or sees["executions"] or sees["processes"]):
        return {**context, "title": _("Welcome"), "sees": sees, "sees_nothing": True}
    days = _days(request)
    now = Control().clock.now()
    from_hour = next_runs.from_hour(request, now)
    charts = charts_context(now, sees, days)
    return {
        **context,
        "title": _("Dashboard"),
        "now_url": reverse("admin:dashboard-now", query=next_runs.from_query(from_hour)),
        "now_seconds": limits.NOW_SECONDS,
        "charts_url": f"{reverse('admin:dashboard-charts')}?days={days}",
        "charts_seconds": limits.CHARTS_SECONDS,
        "partial_seconds": limits.PARTIAL_SECONDS,
        "days": days,
        "zone": get_current_timezone_name(),
        **now_context(now, sees, from_hour),
        **charts,
    }


def now_part(request: HttpRequest) -> HttpResponse:
    """Answers live.js with the health, the cards and their tables; each element has an id."""
    now, sees = Control().clock.now(), _sees(request)
    context = now_context(now, sees, next_runs.from_hour(request, now))
    return render(request, "scheduler/dashboard/now.html", context)


def charts_part(request: HttpRequest) -> HttpResponse:
    """Answers live.js with the charts' tables and the slow jobs; each element has an id."""
    now, sees = Control().clock.now(), _sees(request)
    context = charts_context(now, sees, _days(request))
    response = render(request, "scheduler/dashboard/charts.html", context)
    if "until_complete" in request.GET and not context["is_partial"]:
        response["X-Live"] = "done"
    return response


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the two parts, for the admin site whose front page is `index`."""
    return [
        path("dashboard/now", site.admin_view(now_part), name="dashboard-now"),
        path("dashboard/charts", site.admin_view(charts_part), name="dashboard-charts"),
    ]


def _sees(request: HttpRequest) -> dict[str, bool]:
    return {
        "jobs": may(request.user, Action.VIEW_JOBS),
        "executions": may(request.user, Action.VIEW_EXECUTIONS),
        "processes": may(request.user, Action.VIEW_PROCESSES),
    }


def _days(request: HttpRequest) -> int:
    return 7 if request.GET.get("days") == "7" else 1
