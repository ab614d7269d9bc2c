"""Lists over large tables: counts stop at a limit, and each page knows the database's time."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest
from django.utils.functional import cached_property

from scheduler.admin.unfold_compat import AnyPaginator, ChangeList, ModelAdmin
from scheduler.operations.control import Control

COUNT_LIMIT: Final = 10_000
_LONGEST_ID: Final = 18  # digits that a bigint holds whatever they are


class CappedPaginator(AnyPaginator):
    """Counts up to COUNT_LIMIT rows and shows no further page: people filter before page 200."""

    template_name = "scheduler/pagination.html"

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNT_LIMIT)

    @property
    def is_capped(self) -> bool:
        return self._found > COUNT_LIMIT

    @cached_property
    def _found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: COUNT_LIMIT + 1].count())


class GuardedList(ModelAdmin):
    """A list that costs and tells no more than it shows: no count of the whole table or per filter,
    and no lookups but those of the filters. Django would take any column from the address: masked
    params could be guessed letter by letter with `?params__password__startswith=`."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    allowed_lookups: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        if lookup.endswith("id__exact") and len(str(value)) > _LONGEST_ID:
            # A number that no column holds: to be said as any other mistake, not by the driver.
            raise IncorrectLookupParameters
        return lookup in self.allowed_lookups


class TimedChangeList(ChangeList):
    """Puts the instant of the page on each row as `seen_at`, for relative times without queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = Control().clock.now()
        rows = list(self.result_list)
        for row in rows:
            row.seen_at = now
        self.result_list = rows
