"""docs/performance.md: goals, figures and peers in tables, pictures, how to repeat it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_HEAD = """\
# Performance

`python -m bench report` makes this page from one run of `python -m bench all`. The peers ran in the
same run on the same machine, in turn with jobu, because the speed of a machine changes from day to
day: compare the ratios, not the figures of two runs.

*ratio*: how many times better than the peer jobu is. *limit*: claim and finish on jobu's tables in
groups of 50, as bare statements in one process, with nothing around them. All figures are medians
where there were several rounds.
"""

SMOKE = """\
**These figures come from a run with tiny sizes on a busy machine. It only shows that each row works.**
"""
#: Heading -> which rows. A row that fits none stands under the last heading.
_SECTIONS = (
    ("A run in a worker", r"no-op|async handlers|long waits|run now|before "),
    ("Slots", r".*due at once|lateness|idle beat|beat records"),
    ("Everything else", r".*"),
)
_OWN_PICTURES = r"scale:|limit:|costs:|WAL of"

_REPEAT = """\
## Measure it yourself

```sh
script/test --quick                               # once: installs what the benches need
.venv/bin/python -m bench all --output results.jsonl   # less than 20 minutes; leave the machine alone
.venv/bin/python -m bench scale > curves.jsonl    # 15 minutes more, for the curves
.venv/bin/python -m bench report results.jsonl curves.jsonl   # this page, its pictures and scaling.md
.venv/bin/python -m bench burst --database mysql  # or one of them; --help names the options
```

The benches start private servers. `TEST_POSTGRES_URL`, `TEST_MYSQL_URL` and `TEST_REDIS_URL` name others. Peers
that are not installed (requirements-dev.txt) leave their cells empty.
"""

_CAVEATS = """\
## What these figures do not say

- The private PostgreSQL and MariaDB do not wait for the disk (`fsync` is off), as the Redis of the peers does
  not. With a disk, add the time of one flush to each group of runs, not to each run.
- Handlers do nothing, or wait. A handler's own work comes on top.
- One host holds everything. A network adds its round trip to each statement; groups share it.
- A peer's figure that was cut off is not a ratio: its cell says how far it came.
"""


def of(lines: Sequence[Mapping[str, Any]], pictures: Sequence[str], remarks: str) -> str:
    """The page. `pictures`: names of files in docs/pictures."""
    rows = [line for line in lines if "row" in line]
    return (
        "\n".join(
            [
                _HEAD,
                *_machine(lines[0]),
                *_tables(rows),
                *_pictures(pictures),
                *_limits(rows),
                *_missing(lines),
                *([f"## What stands in the way\n\n{remarks}\n"] if remarks else []),
                _CAVEATS,
                _REPEAT,
            ]
        ).rstrip("\n")
        + "\n"
    )


def _machine(head: Mapping[str, Any]) -> Iterator[str]:
    if head.get("smoke"):
        yield SMOKE
    there = [f"{name} {each}" for name, each in head["servers"].items()]
    there += [f"{name} {each}" for name, each in head["packages"].items()]
    yield (
        f"Measured at {head['measured_at']}, commit {head['commit']}: {head['processor']},"
        f" {head['cores']} cores, {head['memory_gb']} GB, Linux {head['kernel']}, load before"
        f" {head['load_before']}. Python {head['python']}, {', '.join(there)}.\n"
    )


def _tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    left = [row for row in rows if not re.match(_OWN_PICTURES, row["row"])]
    goals = [row for row in left if row["goal"]]
    met = sum(row["met"] is True for row in goals)
    yield f"**{met} of {len(goals)} goals are met.**\n"
    for heading, pattern in _SECTIONS:
        found = [row for row in left if re.match(pattern, row["row"])]
        left = [row for row in left if row not in found]
        if not found:
            continue
        yield f"## {heading}\n"
        yield "| what | database | jobu | peer | ratio | limit | goal | met |"
        yield "|---|---|---|---|---|---|---|---|"
        for row in found:
            cells = (
                row["row"],
                row["database"],
                f"{figure(row['ours'])} {row['unit']}"
                if row["ours"] is not None
                else _how_far(row),
                _peer(row),
                figure(row["ratio"]),
                figure(row["limit"]),
                row["goal"],
                {True: "yes", False: "**no**", None: ""}[row["met"]],
            )
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def _how_far(row: Mapping[str, Any]) -> str:
    return str(row.get("note") or "not measured")


def _peer(row: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (figure(row["peer"]), row["peer_name"]) if part)


def _pictures(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield "## In pictures\n"
        for name in names:
            words = name.removesuffix(".svg").replace("-", " ")
            yield f"![{words}](pictures/{name})\n"


def _limits(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = [row for row in rows if re.match(r"limit:|WAL of", row["row"])]
    if found:
        yield "## The limit\n"
        yield "| what | database | |"
        yield "|---|---|---|"
        for row in found:
            yield f"| {row['row']} | {row['database']} | {figure(row['ours'])} {row['unit']} |"
        yield ""


def _missing(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for line in lines:
        if line.get("left_out") == "scale" and any("curve" in each for each in lines):
            continue
        if "failed" in line:
            yield f"Not measured: `bench {line['failed']}` ({line['why']}).\n"
        elif "left_out" in line:
            yield f"Left out: `bench {line['left_out']}` ({line['why']}).\n"


def figure(value: float | None) -> str:
    """With three digits, and thousands apart. Empty for None."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
