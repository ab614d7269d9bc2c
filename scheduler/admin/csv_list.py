"""A list of Django's as a CSV file: the rows that the reader has filtered, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from scheduler.admin import csv_export
from scheduler.admin.csv_export import Row
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import ModelAdmin
from scheduler.operations.control import Control


class CsvMixin(ModelAdmin):
    """Adds the address `csv/` to a list. It takes the same filters as the list."""

    csv_name: ClassVar[str]

    def csv_head(self, request: HttpRequest) -> Row:
        """Returns the titles of the columns. Each list has its own."""
        raise NotImplementedError

    def csv_cells(self, request: HttpRequest, row: Any) -> Row:
        """Returns the cells of one row, in the order of the titles. Each list has its own."""
        raise NotImplementedError

    def csv_rows(self, request: HttpRequest, ids: Sequence[int]) -> Iterable[Any]:
        """Returns the rows with these ids, with all that the cells need."""
        return self.get_queryset(request).filter(pk__in=ids)

    def get_urls(self) -> list[URLPattern]:
        view: Any = self.admin_site.admin_view(self.csv_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", view, name=name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found: Any = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:  # the list says what is wrong
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
            return HttpResponseRedirect(f"{reverse(name)}?{request.GET.urlencode()}")
        ids = list(found.values_list("pk", flat=True)[: csv_export.LIMIT + 1])
        now = Control().clock.now()

        def load(part: Sequence[int]) -> Iterable[Any]:
            for row in self.csv_rows(request, part):
                row.seen_at = now
                yield row

        batches = csv_export.in_batches(ids, load, lambda row: self.csv_cells(request, row))
        return csv_export.response(self.csv_name, self.csv_head(request), batches)
