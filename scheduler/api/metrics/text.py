"""Prometheus' text format, version 0.0.4.

Not written by prometheus_client, which takes half a second for the series of a thousand jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from scheduler.store.histograms import LABELS, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


class Family:
    """All series of one name, and what they mean."""

    def __init__(self, kind: str, name: str, meaning: str) -> None:
        meaning = meaning.replace("\\", "\\\\").replace("\n", "\\n")
        # The format has no suffix in the name of a counter's family, but in each of its samples.
        self._lines = [f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"]
        self._name = name

    def add(self, value: float, labels: Labels | None = None, suffix: str = "") -> None:
        self._lines.append(f"{self._name}{suffix}{_braces(labels or {})} {float(value)!r}\n")

    def add_histogram(self, histogram: Histogram, labels: Labels | None = None) -> None:
        inner = _inner(labels or {})
        begin = f"{self._name}_bucket{{{inner}{',' if inner else ''}le="
        counts = list(histogram.cumulative())
        self._lines += [
            f'{begin}"{bound}"}} {count}\n' for bound, count in zip(LABELS, counts, strict=True)
        ]
        self.add(counts[-1], labels, "_count")
        self.add(histogram.total, labels, "_sum")

    def text(self) -> str:
        return "".join(self._lines)


def gauge(name: str, meaning: str, value: float | None = None) -> Family:
    """With `value`: a family of one series without labels."""
    family = Family("gauge", name, meaning)
    if value is not None:
        family.add(value)
    return family


def counter(name: str, meaning: str) -> Family:
    return Family("counter", name, meaning)


def page(families: Iterable[Family]) -> str:
    return "".join(family.text() for family in families)


def seconds(at: datetime) -> float:
    """An instant as Prometheus takes it: seconds since 1970."""
    return at.timestamp()


def _braces(labels: Labels) -> str:
    return f"{{{_inner(labels)}}}" if labels else ""


def _inner(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
