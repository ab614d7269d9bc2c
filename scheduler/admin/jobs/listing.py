"""The list of jobs: its search, which also asks for a slot, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from scheduler.admin.csv_export import Row
from scheduler.admin.csv_list import CsvMixin
from scheduler.admin.jobs import file, slot
from scheduler.models import CronJob
from scheduler.operations.asked_time import split_time
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may


class ListsJobs(CsvMixin):
    csv_name = "jobs"

    def csv_head(self, request: HttpRequest) -> Row:
        return file.head(sees_params=may(request.user, Action.VIEW_PARAMS))

    def csv_rows(self, request: HttpRequest, ids: Sequence[int]) -> QuerySet[CronJob]:
        return CronJob.objects.filter(pk__in=ids).prefetch_related("tag_rows")

    def csv_cells(self, request: HttpRequest, row: CronJob) -> Row:
        return file.cells(row, sees_params=may(request.user, Action.VIEW_PARAMS))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """`report 03:00 yesterday` finds jobs by `report`, and asks for their runs at that time.

        Unless jobs have all of the text: the name of one may end with a time.
        """
        found = super().get_search_results(request, queryset, search_term)
        if not search_term or not may(request.user, Action.VIEW_EXECUTIONS):
            return found
        now = Control().clock.now()
        split = split_time(search_term, now=now, zone=slot.zone_of_reader())
        if split is None or found[0].exists():
            return found
        search_term, request.asked_time = split  # type: ignore[attr-defined]
        return super().get_search_results(request, queryset, search_term)
