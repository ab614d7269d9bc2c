"""Filters of lists that a user keeps under a name: the bar above a list, and what its forms do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from scheduler.admin.site import reverse
from scheduler.models import CronJob, JobExecution
from scheduler.store import saved_filters

_LONGEST_NAME: Final = 100
_LONGEST_QUERY: Final = 2000
# Where a reader is in a list is no filter.
_PLACES: Final = frozenset({"p", "page", "before"})
# Of every list of Django's: the search, the order, and what the page of a mistake adds.
_OF_LISTS: Final = frozenset({"q", "o"})


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A list whose filters can be kept. `names`: of its address; for a model those of its admin."""

    url_name: str
    model: Any = None
    names: Collection[str] = field(default=())

    def known(self, site: Any) -> frozenset[str]:
        if self.model is None:
            return frozenset(self.names)
        return frozenset(site.get_model_admin(self.model).allowed_lookups) | _OF_LISTS


LISTS: Final[Mapping[str, Listed]] = {
    "jobs": Listed(url_name="admin:scheduler_cronjob_changelist", model=CronJob),
    "executions": Listed(url_name="admin:scheduler_jobexecution_changelist", model=JobExecution),
    "failures": Listed(
        url_name="admin:failures",
        names=("state", "days", "job", "tag", "queue", "handler", "q"),
    ),
    "activity": Listed(
        url_name="admin:activity",
        names=("kind", "verb", "door", "who", "q", "id", "since", "until"),
    ),
}


def bar(request: HttpRequest, page: str) -> dict[str, Any]:
    """Returns the context of `scheduler/saved_filters.html`: what this user has kept."""
    kept = [
        {
            "id": each.pk,
            "name": each.name,
            "url": reverse("admin:saved-filter", args=[each.pk]),
        }
        for each in saved_filters.of(request.user, page)
    ]
    return {"saved_filters": kept, "saved_page": page, "saved_query": _query_of(request)}


def _query_of(request: HttpRequest) -> str:
    query = request.GET.copy()
    for name in _PLACES:
        query.pop(name, None)
    return query.urlencode()


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of saved filters on this admin site."""

    def open_one(request: HttpRequest, filter_id: int) -> HttpResponse:
        return _open(request, filter_id, site)

    save, delete = require_POST(_save), require_POST(_delete)
    return [
        path("saved-filters/<int:filter_id>/", site.admin_view(open_one), name="saved-filter"),
        path("saved-filters/save/", site.admin_view(save), name="saved-filter-save"),
        path("saved-filters/delete/", site.admin_view(delete), name="saved-filter-delete"),
    ]


def _open(request: HttpRequest, filter_id: int, site: Any) -> HttpResponse:
    """Redirects to the list. What the list does not know any more is left out, and named."""
    kept = saved_filters.find(request.user, filter_id)
    shown = LISTS.get(kept.page) if kept is not None else None
    if kept is None or shown is None:
        raise Http404(_("There is no such saved filter"))
    query = QueryDict(kept.query, mutable=True)
    known = shown.known(site)
    gone = [name for name in query if name not in known]
    for name in gone:
        del query[name]
    if gone:
        text = _("This list has no filter %(names)s any more. The rest of %(filter)s is shown.")
        messages.warning(request, text % {"names": ", ".join(gone), "filter": kept.name})
    return _to(shown, query.urlencode())


def _save(request: HttpRequest) -> HttpResponse:
    page, name = request.POST.get("page", ""), request.POST.get("name", "").strip()
    query = request.POST.get("query", "")
    shown = LISTS.get(page)
    if shown is None:
        raise Http404
    problem = _problem(name, query)
    if problem is None and not saved_filters.put(request.user, page=page, name=name, query=query):
        problem = _("You have %s saved filters of this list already; delete one first.")
        problem %= saved_filters.MOST
    if problem is None:
        messages.success(request, _("The filter %s is saved.") % name)
    else:
        messages.error(request, problem)
    return _to(shown, query[:_LONGEST_QUERY])


def _problem(name: str, query: str) -> str | None:
    if not name or "\0" in name or "\0" in query:
        return _("A filter needs a name.")
    if len(name) > _LONGEST_NAME:
        return _("The name of a filter has at most %s characters.") % _LONGEST_NAME
    if len(query) > _LONGEST_QUERY:
        return _("This filter is too long to be saved.")
    return None


def _delete(request: HttpRequest) -> HttpResponse:
    number = request.POST.get("id", "")
    filter_id = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0
    kept = saved_filters.find(request.user, filter_id)
    if kept is None or kept.page not in LISTS:
        raise Http404
    saved_filters.delete(request.user, filter_id)
    messages.success(request, _("The filter %s is deleted.") % kept.name)
    return _to(LISTS[kept.page], "")


def _to(shown: Listed, query: str) -> HttpResponse:
    # Parsed and written anew: what a form sent is no part of an address as it is.
    clean = urlencode(list(QueryDict(query).lists()), doseq=True)
    url = reverse(shown.url_name)
    return HttpResponseRedirect(f"{url}?{clean}" if clean else url)
