"""The page "who changed what" of a row: jobu's entries, and below them those of Django's log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, overload

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import ModelAdmin
from scheduler.models import Activity, bounded_id
from scheduler.operations import django_log, history
from scheduler.operations.history import Change
from scheduler.operations.permissions import SEES_HISTORY_OF, Action, may
from scheduler.states import TargetKind
from scheduler.store import activity

_PER_PAGE: Final = 100
#: The page cuts longer values. The API returns them in full.
_LONGEST: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Line:
    """One entry, in the form that the page shows."""

    at: datetime
    actor: str
    door: str
    text: str
    changes: list[Change]
    restore_url: str = ""


def line_of(entry: Activity, *, sees_params: bool, restore_url: str = "") -> Line:
    return Line(
        at=entry.at,
        actor=entry.actor,
        door=history.describe_door(entry),
        text=history.describe(entry, formatting.exact),
        changes=history.changes_of(entry, sees_params=sees_params, longest=_LONGEST),
        restore_url=restore_url,
    )


class Lines(Sequence[Line]):
    """The entries about a row, newest first. A page loads only the entries that it shows."""

    def __init__(
        self,
        entries: QuerySet[Activity],
        older: QuerySet[LogEntry],
        *,
        sees_params: bool,
        restore_url: Callable[[Activity], str] = lambda entry: "",
    ) -> None:
        self._restore_url = restore_url
        self._entries = entries
        self._older = older
        self._sees_params = sees_params
        self._count = entries.count()

    def __len__(self) -> int:
        return self._count + self._older.count()

    @overload
    def __getitem__(self, wanted: int) -> Line: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[Line]: ...
    def __getitem__(self, wanted: int | slice) -> Line | list[Line]:
        if isinstance(wanted, int):
            return self[wanted : wanted + 1][0]
        first, end, _step = wanted.indices(len(self))
        count = self._count
        return [
            *map(self._line, self._entries[min(first, count) : min(end, count)]),
            *map(self._older_line, self._older[max(first - count, 0) : max(end - count, 0)]),
        ]

    def _line(self, entry: Activity) -> Line:
        return line_of(entry, sees_params=self._sees_params, restore_url=self._restore_url(entry))

    def _older_line(self, entry: LogEntry) -> Line:
        return Line(
            at=entry.action_time,
            actor=entry.user.get_username(),
            door="",
            text=entry.get_change_message(),
            changes=django_log.changes_of(entry, sees_params=self._sees_params),
        )


class HistoryMixin(ModelAdmin):
    """A ModelAdmin whose changes go through the operations, which write the history."""

    target_kind: ClassVar[TargetKind]

    # Without these methods Django would log the same change a second time.

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return None

    def restore_url(self, request: HttpRequest, entry: Activity) -> str:
        """Returns the page that restores the row as the entry left it. Empty: there is none."""
        return ""

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        """Redirects to what is known about a row that was deleted, if anything is."""
        number = unquote(object_id)
        row_id = bounded_id(number) if number.isascii() and number.isdigit() else 0
        deleted = None
        if self.has_view_permission(request):
            deleted = activity.deletion_of(self.target_kind, row_id)
        if deleted is None or self.target_kind not in SEES_HISTORY_OF:
            return super()._get_obj_does_not_exist_redirect(request, opts, object_id)  # type: ignore[misc,no-any-return]
        text = _("%(name)s was deleted by %(who)s, %(when)s. This is what is known about it.")
        facts = {"name": deleted.target_name or f"#{row_id}", "who": deleted.actor or "jobu"}
        messages.warning(request, text % {**facts, "when": formatting.exact(deleted.at)})
        return HttpResponseRedirect(
            reverse("admin:activity", query={"kind": self.target_kind.value, "id": row_id})
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        target: Model | None = self.get_object(request, unquote(object_id))
        if target is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_or_change_permission(request, target):
            raise PermissionDenied
        lines = Lines(
            activity.of_target(self.target_kind, target.pk),
            django_log.entries_of(target),
            sees_params=may(request.user, Action.VIEW_PARAMS),
            restore_url=lambda entry: self.restore_url(request, entry),
        )
        paginator = Paginator(lines, _PER_PAGE)
        page = paginator.get_page(request.GET.get(PAGE_VAR, 1))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Change history: %s") % target,
            "subtitle": None,
            "lines": page,
            "page_range": paginator.get_elided_page_range(page.number),
            "page_var": PAGE_VAR,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            "object": target,
            "opts": self.opts,
            "preserved_filters": self.get_preserved_filters(request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "scheduler/history.html", context)
