"""Lists over large tables: counts stop at a limit, and each row knows the database's time."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Page
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from scheduler.admin.unfold_compat import AnyPaginator, ChangeList, ModelAdmin
from scheduler.operations.control import Control
from scheduler.store.listing import count_up_to, part_of

COUNT_LIMIT: Final = 10_000
_MOST_WORDS: Final = 20
_LONGEST_ID: Final = 18  # every number of 18 digits fits a bigint


class CappedPaginator(AnyPaginator):
    """Counts at most COUNT_LIMIT rows and shows no later page: people filter before page 200."""

    template_name = "scheduler/pagination.html"

    @cached_property
    def count(self) -> int:
        return min(self._found, COUNT_LIMIT)

    @property
    def is_capped(self) -> bool:
        return self._found > COUNT_LIMIT

    def page(self, number: Any) -> Page[Any]:
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        rows: Any = self.object_list
        end = min(start + self.per_page, self.count)
        shown = part_of(rows, start, end, count=self._found)
        return Page(shown, number, self)

    @cached_property
    def _found(self) -> int:
        rows: Any = self.object_list
        return count_up_to(rows, COUNT_LIMIT + 1)


class LimitedLookupsAdmin(ModelAdmin):
    """A list without expensive counts and without free lookups.

    It counts neither the whole table nor the rows per filter, and accepts only the lookups of its
    filters. Django would accept any column from the address: a person could guess masked params
    letter by letter with `?params__password__startswith=`.
    """

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    allowed_lookups: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        if lookup.endswith("id__exact") and len(str(value)) > _LONGEST_ID:
            # A number too large for the column is an ordinary mistake, not an error of the driver.
            raise IncorrectLookupParameters
        return lookup in self.allowed_lookups

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Looks for some words only: each is a condition, and SQLite refuses a thousand."""
        words = search_term.split()
        if len(words) > _MOST_WORDS:
            text = _("Only the first %(count)s words were searched for.")
            messages.warning(request, text % {"count": _MOST_WORDS})
            search_term = " ".join(words[:_MOST_WORDS])
        return super().get_search_results(request, queryset, search_term)


class TimedChangeList(ChangeList):
    """Sets `seen_at` on each row to the instant of the page: relative times need no queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = Control().clock.now()
        rows = list(self.result_list)
        for row in rows:
            row.seen_at = now
        self.result_list = rows
