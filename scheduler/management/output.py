"""Output of a command: tables and colours on a terminal, plain columns elsewhere, or JSON.

Texts from the database may hold control characters. They are escaped before they are printed.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Final, cast

from django.core.management.base import OutputWrapper
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from scheduler.states import AttemptOutcome, BackfillState, RunStatus

NOTHING: Final = "-"
_STYLES: Final[Mapping[str, str]] = {
    RunStatus.SUCCESS: "green",
    RunStatus.RUNNING: "blue",
    RunStatus.FANNED_OUT: "blue",
    RunStatus.FAILED: "red",
    RunStatus.TIMEOUT: "red",
    AttemptOutcome.LOST: "red",
    RunStatus.CANCELLED: "yellow",
    RunStatus.SKIPPED: "yellow",
    BackfillState.ACTIVE: "blue",
    BackfillState.DONE: "green",
    BackfillState.PAUSED: "yellow",
    BackfillState.CANCELLED: "yellow",
    "enabled": "green",
    "error": "red",
    "ERROR": "red",
    "WARNING": "yellow",
}

Row = Sequence[object]


class Printer:
    """The stdout and stderr of one command. `as_json`: stdout carries only JSON."""

    def __init__(
        self, out: OutputWrapper, err: OutputWrapper, *, as_json: bool, colours: bool
    ) -> None:
        self._out = out
        self._err = err
        self.as_json = as_json
        self._colours = colours

    @property
    def is_terminal(self) -> bool:
        return bool(self._out.isatty())

    # --- for machines -----------------------------------------------------------------------------

    def document(self, value: object) -> None:
        """Prints the one JSON document of a command."""
        self._out.write(self._json(value, indent=2))

    def json_line(self, value: object) -> None:
        self._out.write(self._json(value, indent=None))
        self._out.flush()

    def _json(self, value: object, indent: int | None) -> str:
        # If the stream cannot encode every character, the JSON is written with escapes.
        encoding = (getattr(self._out, "encoding", None) or "utf-8").lower().replace("-", "")
        return json.dumps(
            value, indent=indent, ensure_ascii=encoding != "utf8", default=_plain, allow_nan=False
        )

    # --- for people -------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        self._out.write(printable(text))
        self._out.flush()

    def file(self, text: str) -> None:
        """Prints the content of a file as it is; its syntax has escaped control characters."""
        self._out.write(text)

    def note(self, text: str) -> None:
        """Prints to stderr what is not part of the answer."""
        self._err.write(printable(text), _unstyled)

    def table(self, headers: Sequence[str], rows: Sequence[Row]) -> None:
        """Prints a table on a terminal, or plain columns without cut-off values elsewhere."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not self.is_terminal:
            self._columns([list(headers), *cells])
            return
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self._rich(table)

    def facts(self, pairs: Sequence[tuple[str, object]]) -> None:
        """Prints one `name  value` line for each pair."""
        rows = [(name, _cell(value, lines=True)) for name, value in pairs]
        width = max((cell_len(name) for name, _value in rows), default=0)
        for name, value in rows:
            padding = " " * (width - cell_len(name) + 2)
            first, *more = value.split("\n")
            lines = [first, *(" " * (width + 2) + each for each in more)]
            if self.is_terminal:
                text = Text(name, style="bold") + Text(padding + "\n".join(lines))
                if value in _STYLES:
                    text.highlight_words([value], _STYLES[value])
                self._rich(text)
            else:
                self._out.write(name + padding + "\n".join(lines))

    def progress(self) -> Progress:
        """Returns a progress bar on stderr, which does not mix with stdout. Only on a terminal."""
        is_shown = bool(self._err.isatty())
        console = Console(
            file=cast("IO[str]", _Unstyled(self._err)),
            no_color=not self._colours,
            force_terminal=is_shown,
        )
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            disable=not is_shown,
            transient=False,
        )

    def _columns(self, rows: Sequence[Sequence[str]]) -> None:
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            padded = (
                cell + " " * (width - cell_len(cell))
                for cell, width in zip(row, widths, strict=True)
            )
            self._out.write("  ".join(padded).rstrip())

    def _rich(self, renderable: object) -> None:
        console = Console(
            file=io.StringIO(), force_terminal=True, no_color=not self._colours, highlight=False,
            width=Console().width,
        )  # fmt: skip
        with console.capture() as capture:
            console.print(renderable, soft_wrap=isinstance(renderable, Text))
        self._out.write(capture.get(), _unstyled)


class _Unstyled(io.TextIOBase):
    """A stream for rich. Django's wrapper would add a line break and colours to each write."""

    def __init__(self, out: OutputWrapper) -> None:
        self._out = out

    def write(self, text: str) -> int:
        self._out.write(text, _unstyled, "")
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def isatty(self) -> bool:
        return bool(self._out.isatty())


def wants_colours(options: Mapping[str, Any]) -> bool:
    """True with `--force-color`. Else false with `--no-color` or NO_COLOR (no-color.org)."""
    if options.get("force_color"):
        return True
    return not options.get("no_color") and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Returns `text` with its control characters escaped. Line breaks stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def exact(instant: datetime | None) -> str:
    """Returns `2026-11-21 10:55:00 KST`, in the configured zone."""
    return NOTHING if instant is None else localtime(instant).strftime("%Y-%m-%d %H:%M:%S %Z")


def span(seconds: float | None) -> str:
    """Returns a duration in its two largest units."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    for size, unit, below, below_unit in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {below_unit}" if rest else "")
    return f"{whole} s"


def utc_text(instant: datetime | None) -> str | None:
    """Returns `2026-11-21T01:55:00Z`."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _cell(value: object, *, lines: bool = False) -> str:
    if isinstance(value, datetime):
        return exact(value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Mapping | list):
        value = json.dumps(value, ensure_ascii=False, indent=2 if lines and value else None)
    text = NOTHING if value is None or value == "" else str(value)
    return printable(text if lines else text.replace("\n", " "))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return utc_text(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _unstyled(text: str) -> str:
    return text
