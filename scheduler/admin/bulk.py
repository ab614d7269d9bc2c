"""One verb on many rows: the page that shows how far it is, and the requests that work on it.

The operations keep the work (operations/bulk.py). Each POST does a bounded part of it. bulk.js
sends one POST after the other; without scripts a person presses the button.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from scheduler.admin.actor import bulk_of, control_of
from scheduler.admin.history import HistoryMixin
from scheduler.admin.site import render_to_string, reverse
from scheduler.admin.verbs import Verb
from scheduler.models import bounded_id
from scheduler.operations.bulk import LIMIT, Bulk, one_by_one

# What bulk.js sends to receive the numbers instead of a page.
_WANTS_NUMBERS: Final = "X-Bulk"
# Their statements hold the rows for some tenths of a second.
_AT_ONCE: Final = 500


def chosen_ids(request: HttpRequest, queryset: QuerySet[Any]) -> list[int]:
    """Returns the ids that the person confirms, at most LIMIT + 1.

    Of a whole list without the rows that were made after the question was shown.
    """
    rows = queryset.order_by("pk")
    if (through := _through(request)) is not None:
        rows = rows.filter(pk__lte=through)
    return list(rows.values_list("pk", flat=True)[: LIMIT + 1])


def question_about(request: HttpRequest, queryset: QuerySet[Any]) -> dict[str, Any]:
    """Returns what the page that asks about a whole list says and sends back."""
    rows = queryset.order_by()
    through = _through(request)
    if through is None:
        through = rows.aggregate(most=Max("pk"))["most"] or 0
    return {"count": rows.filter(pk__lte=through)[: LIMIT + 1].count(), "through": through}


def _through(request: HttpRequest) -> int | None:
    text = request.POST.get("through", "")
    return bounded_id(text) if text.isascii() and text.isdigit() else None


def begin(
    model_admin: HistoryMixin,
    request: HttpRequest,
    verb: Verb,
    ids: list[int],
    answers: Mapping[str, Any],
) -> HttpResponse:
    """Records the work and leads to its page. NotPossible: too many rows."""
    work = bulk_of(request).begin(
        kind=model_admin.target_kind,
        action=verb.name,
        ids=ids,
        answers={name: _stored(value) for name, value in answers.items()},
        question=request.POST.get("question", "")[:32],
    )
    address = _address(model_admin, work)
    listed = request.GET.urlencode()
    return HttpResponseRedirect(f"{address}?{listed}" if listed else address)


def page(
    model_admin: HistoryMixin, request: HttpRequest, bulk_id: int, verbs: Sequence[Verb]
) -> HttpResponse:
    """GET shows how far the work is. POST does a part of it, or stops it."""
    control = bulk_of(request)
    work = control.find(bulk_id)
    verb = next((verb for verb in verbs if work is not None and verb.name == work.action), None)
    if work is None or verb is None or work.kind != model_admin.target_kind:
        raise Http404
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        if "stop" in request.POST:
            work = control.stop(bulk_id)
        elif f"{verb.name}_many" not in model_admin.get_actions(request):
            raise PermissionDenied
        else:
            work = _step(model_admin, request, verb, work)
        if _WANTS_NUMBERS not in request.headers:
            return HttpResponseRedirect(request.get_full_path())
    context = _context(model_admin, request, verb, work)
    if _WANTS_NUMBERS in request.headers:
        return HttpResponse(render_to_string("scheduler/bulk_numbers.html", context, request))
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "scheduler/bulk.html", context)


def _step(model_admin: HistoryMixin, request: HttpRequest, verb: Verb, work: Bulk) -> Bulk:
    control = control_of(request)
    rows = model_admin.get_queryset(request)
    fields = verb.form_for_many.base_fields
    answers = {name: _restored(value, fields.get(name)) for name, value in work.answers.items()}

    if verb.act_on_many is None:
        act = one_by_one(lambda row_id: verb.act(control, rows.get(pk=row_id), answers))
        return bulk_of(request).step(work.id, act)
    act_on_many = verb.act_on_many
    return bulk_of(request).step(
        work.id, lambda ids: act_on_many(control, ids, answers), at_once=_AT_ONCE
    )


def _context(
    model_admin: HistoryMixin, request: HttpRequest, verb: Verb, work: Bulk
) -> dict[str, Any]:
    back = reverse(_name_of(model_admin, "changelist"))
    listed = request.GET.urlencode()
    return {
        **model_admin.admin_site.each_context(request),
        "title": _("%(verb)s: %(count)s rows") % {"verb": verb.title, "count": work.total},
        "opts": model_admin.opts,
        "media": forms.Media(js=["scheduler/bulk.js"]),
        "verb": verb,
        "work": work,
        "worked": work.total - work.left,
        "refused": [
            (each, [(number, _page_of(model_admin, number)) for number in each.examples])
            for each in work.refused
        ],
        "back_url": f"{back}?{listed}" if listed else back,
    }


def _address(model_admin: HistoryMixin, work: Bulk) -> str:
    return reverse(_name_of(model_admin, "bulk"), args=[work.id])


def _page_of(model_admin: HistoryMixin, row_id: int) -> str:
    return reverse(_name_of(model_admin, "change"), args=[row_id])


def _name_of(model_admin: HistoryMixin, page_name: str) -> str:
    opts = model_admin.opts
    return f"admin:{opts.app_label}_{opts.model_name}_{page_name}"


# Answers are kept as JSON between two requests.


def _stored(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _restored(value: Any, field: forms.Field | None) -> Any:
    is_instant = isinstance(field, forms.SplitDateTimeField) and isinstance(value, str)
    return datetime.fromisoformat(value) if is_instant else value
