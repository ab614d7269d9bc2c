"""Pages by number for people, by cursor for programs. Neither counts all rows of a large table.

Pages by number stop at COUNT_LIMIT rows, because the database reads every row that an offset skips.
A cursor reads only the rows of its page, at any depth of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import ConfigDict, Field

from scheduler.api.errors import invalid
from scheduler.store.listing import FEW, count_up_to, part_of

COUNT_LIMIT: Final = 10_000
M = TypeVar("M", bound=Model)


class Paging(Schema):
    """The query parameters of every list."""

    model_config = ConfigDict(extra="ignore")

    page: int = Field(default=1, ge=1, le=COUNT_LIMIT)
    size: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(
        default=None, max_length=100, description="`next_cursor` of the page before; without `page`"
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a list is sorted, and how its cursors are made and read.

    `by`: the fields to sort by. `cursor_of`: returns the cursor after a row. `after`: returns the
    rows that follow a cursor.
    """

    by: tuple[Any, ...]
    cursor_of: Callable[[Any], str]
    #: Raises ValueError or OverflowError for a text that is not a cursor.
    after: Callable[[QuerySet[Any], str], QuerySet[Any]]


def page_of(rows: QuerySet[M], filters: Paging, order: Order) -> tuple[list[M], dict[str, Any]]:
    """Returns the rows of one page, and the values beside `items` in the answer."""
    rows = rows.order_by(*order.by)
    size = filters.size
    counts: dict[str, Any]
    if filters.cursor is not None:
        try:
            rows = order.after(rows, filters.cursor)
        except (ValueError, OverflowError):
            raise invalid({"cursor": [_("is not one that this list gave")]}) from None
        found = part_of(rows, 0, size + 1, count=count_up_to(rows, FEW + 1))
        counts = {"total": None, "total_is_capped": False, "page": None, "pages": None}
    else:
        start = (filters.page - 1) * size
        if start >= COUNT_LIMIT:
            text = _("pages end at row %(limit)s; go on with cursor") % {"limit": COUNT_LIMIT}
            raise invalid({"page": [text]})
        counted = count_up_to(rows, COUNT_LIMIT + 1)
        found = part_of(rows, start, start + size + 1, count=counted)
        total = min(counted, COUNT_LIMIT)
        counts = {
            "total": total,
            "total_is_capped": counted > COUNT_LIMIT,
            "page": filters.page,
            "pages": ceil(total / size),
        }
    more = len(found) > size
    found = found[:size]
    next_cursor = order.cursor_of(found[-1]) if more else None
    return found, {**counts, "size": size, "next_cursor": next_cursor}


def refuse_unknown(request: HttpRequest, known: type[Schema] | Collection[str] = ()) -> None:
    """Raises ApiError (400) for a query parameter that is not in `known`.

    Without this check, a filter with a typo would be ignored and the list would show everything.
    """
    names = sorted(known.model_fields if isinstance(known, type) else known)
    unknown = sorted(set(request.GET) - set(names))
    if unknown:
        text = (
            _("is not known here; there are %(names)s") % {"names": ", ".join(names)}
            if names
            else _("is not known here")
        )
        raise invalid({name[:50]: [text] for name in unknown[:10]})


def by_id(*, newest_first: bool = False) -> Order:
    def after(rows: QuerySet[Any], cursor: str) -> QuerySet[Any]:
        last = _whole(cursor)
        return rows.filter(id__lt=last) if newest_first else rows.filter(id__gt=last)

    return Order(
        by=("-id",) if newest_first else ("id",), cursor_of=lambda row: str(row.pk), after=after
    )


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(text)
    return int(text)
