"""Prometheus' text format, version 0.0.4.

Not written by prometheus_client, which takes half a second for the series of a thousand jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from scheduler.store.histograms import LABELS, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def labels(**values: str) -> str:
    """The labels of a series. Made once for all series of a job: there may be thousands."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


class Family:
    """All series of one name, and what they mean. `labels` are those that `labels()` returns."""

    def __init__(self, kind: str, name: str, meaning: str) -> None:
        meaning = meaning.replace("\\", "\\\\").replace("\n", "\\n")
        self._lines = [f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"]
        self._name = name

    def add(self, value: float, labels: str = "", suffix: str = "") -> None:
        braces = f"{{{labels}}}" if labels else ""
        self._lines.append(f"{self._name}{suffix}{braces} {value!r}\n")

    def add_histogram(self, histogram: Histogram, labels: str = "") -> None:
        begin = f"{self._name}_bucket{{{labels},le=" if labels else f"{self._name}_bucket{{le="
        self._lines += [
            f'{begin}"{bound}"}} {count}\n'
            for bound, count in zip(LABELS, histogram.cumulative(), strict=True)
        ]
        self.add(sum(histogram.counts), labels, "_count")
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


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
