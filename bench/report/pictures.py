"""The plots of the report, as small SVG files. No library: bars and lines need none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from bench.report.page import figure

RUNS, CURVES = "performance-runs.svg", "performance-scale.svg"
_OURS, _PEER, _LIMIT, _INK, _FAINT = "#1f6f5c", "#b9543b", "#8a8f98", "#20242a", "#d8dbe0"
_FONT = "font-family='Helvetica, Arial, sans-serif'"
_BAR, _GAP, _LEFT, _WIDTH = 15, 20, 260, 760
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMNS = 370, 230, 2


def of(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """File name -> picture. A picture without anything to draw is left out."""
    rows = [line for line in lines if "row" in line]
    rates = [
        row
        for row in rows
        if row["unit"] == "runs a second" and row["peer"] and "scale:" not in row["row"]
    ]
    curves: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if "curve" in row and row["ours"] is not None:
            curves.setdefault((row["curve"], row["what"]), []).append(row)
    drawn = {}
    if rates:
        drawn[RUNS] = _bars(rates)
    if curves:
        drawn[CURVES] = _panels(curves)
    return drawn


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    groups = []
    for row in rows:
        bars = [("jobu", row["ours"], _OURS), (row["peer_name"], row["peer"], _PEER)]
        if row["limit"]:
            bars.append(("limit", row["limit"], _LIMIT))
        groups.append((f"{row['row']} ({row['database']})", bars))
    most = max(value or 0 for _, bars in groups for _, value, _ in bars)
    parts, y = [], 34
    parts.append(_text(10, 20, "Runs a second; longer is better", size=14, bold=True))
    for title, bars in groups:
        parts.append(_text(10, y + 14, title, bold=True))
        y += 20
        for name, value, colour in bars:
            width = (_WIDTH - _LEFT - 80) * (value or 0) / most
            parts.append(_text(_LEFT - 8, y + 12, _short(name), anchor="end"))
            parts.append(
                f"<rect x='{_LEFT}' y='{y}' width='{width:.1f}' height='{_BAR}' fill='{colour}'/>"
            )
            parts.append(_text(_LEFT + width + 6, y + 12, figure(value) or "none"))
            y += _BAR + 3
        y += _GAP
    return _svg(_WIDTH, y, parts)


def _panels(curves: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> str:
    parts: list[str] = []
    for number, ((curve, what), points) in enumerate(curves.items()):
        column, line = number % _COLUMNS, number // _COLUMNS
        parts.append(f"<g transform='translate({column * _PANEL_WIDTH},{line * _PANEL_HEIGHT})'>")
        parts += _panel(f"{what}, {points[0]['unit']}", f"number of {curve}", points)
        parts.append("</g>")
    height = _PANEL_HEIGHT * math.ceil(len(curves) / _COLUMNS)
    return _svg(_PANEL_WIDTH * min(_COLUMNS, len(curves)), height, parts)


def _panel(title: str, below: str, points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One curve. The points stand at equal distances: their numbers grow by factors."""
    left, top, width, height = 52, 48, _PANEL_WIDTH - 80, _PANEL_HEIGHT - 104
    most = max(float(point["ours"]) for point in points) or 1.0
    yield _text(left, 20, title, bold=True)
    for share in (0.0, 0.5, 1.0):
        y = top + height * (1 - share)
        yield f"<line x1='{left}' y1='{y:.0f}' x2='{left + width}' y2='{y:.0f}' stroke='{_FAINT}'/>"
        yield _text(left - 6, y + 4, figure(most * share) or "0", anchor="end")
    apart = width / max(1, len(points) - 1)
    places = [
        (left + apart * index, top + height * (1 - float(point["ours"]) / most))
        for index, point in enumerate(points)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f"<polyline points='{line}' fill='none' stroke='{_OURS}' stroke-width='2'/>"
    for (x, y), point in zip(places, points, strict=True):
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{_OURS}'/>"
        yield _text(x, y - 8, figure(point["ours"]), anchor="middle")
        yield _text(x, top + height + 18, _count(point["point"]), anchor="middle")
    yield _text(left + width / 2, top + height + 38, below, anchor="middle")


def _count(number: int) -> str:
    for size, word in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{word}"
    return str(number)


def _short(name: str) -> str:
    return name if len(name) <= 36 else name[:35] + "…"


def _text(
    x: float, y: float, text: str, *, size: int = 12, bold: bool = False, anchor: str = "start"
) -> str:
    weight = " font-weight='bold'" if bold else ""
    return (
        f"<text x='{x:.0f}' y='{y:.0f}' font-size='{size}' fill='{_INK}' text-anchor='{anchor}'"
        f"{weight}>{escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}'"
        f" width='{width:.0f}' height='{height:.0f}' {_FONT}>"
    )
    ground = "<rect width='100%' height='100%' fill='white'/>"
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"
