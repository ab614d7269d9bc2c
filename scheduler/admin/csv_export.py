"""Lists as CSV files: streamed, bounded, and harmless where a spreadsheet opens them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Final

from django.http import StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from scheduler.admin.formatting import exact
from scheduler.operations.masking import mask

#: A file has no more rows. It says so when there are more.
LIMIT: Final = 50_000
#: So many rows are read at once.
BATCH: Final = 1_000
# A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
# Excel takes a file without this mark for one in the code page of the country.
_MARK: Final = "\ufeff"

Row = Sequence[object]


def response(name: str, head: Row, batches: Iterable[Sequence[Row]]) -> StreamingHttpResponse:
    """Returns the file `name`.csv. Each batch is made in the reader's language and time zone.

    The view has returned by then, and with it the language that it was asked in.
    """
    language, zone = translation.get_language() or "en", timezone.get_current_timezone()

    def texts() -> Iterator[str]:
        yield _MARK + _lines([head])
        left, rest = LIMIT, iter(batches)
        while True:
            with translation.override(language), timezone.override(zone):
                batch = next(rest, None)
                if batch is None:
                    return
                text = _lines(batch[:left])
                if len(batch) > left:
                    text += _lines(
                        [[_("Cut after %(count)s rows: there are more.") % {"count": LIMIT}]]
                    )
            yield text
            left -= len(batch)
            if left < 0:
                return

    return StreamingHttpResponse(
        texts(),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}.csv"',
            "Cache-Control": "no-store",
        },
    )


def in_batches(
    ids: Sequence[int], load: Callable[[Sequence[int]], Iterable[Any]], cells: Callable[[Any], Row]
) -> Iterator[list[Row]]:
    """Yields the cells of the rows with these ids, in this order. Those that are gone are left out.

    `ids`: at most LIMIT + 1, by which the file knows that there are more.
    """
    for first in range(0, len(ids), BATCH):
        part = ids[first : first + BATCH]
        found = {row.pk: row for row in load(part)}
        yield [cells(found[id_]) for id_ in part if id_ in found]


def instant(value: datetime | None) -> str:
    return exact(value) if value is not None else ""


def as_json(value: Any) -> str:
    """Returns JSON in one line, with the secrets hidden."""
    return json.dumps(mask(value), ensure_ascii=False, default=str)


def harmless(value: object) -> object:
    """Returns a text that no spreadsheet takes for a formula. Numbers stay numbers."""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value


def _lines(rows: Iterable[Row]) -> str:
    out = StringIO()
    csv.writer(out).writerows([harmless(value) for value in row] for row in rows)
    return out.getvalue()
