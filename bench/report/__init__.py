"""The pages of a measurement: docs/performance.md, docs/scaling.md and their pictures.

`python -m bench report FILE...` makes them from the lines that `bench all --output FILE` has
written, and perhaps those that `bench scale` has printed; without a file from the stored ones. A
test holds them in step with the stored file. What people write about the figures, such as why a
goal is not met, stands in bench/results/remarks.md and is taken over as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import page, pictures, scaling
from tests.harness.system import ROOT

RESULTS = ROOT / "bench" / "results"
STORED = RESULTS / "latest.jsonl"
_REMARKS = RESULTS / "remarks.md"

Line = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench report", description=__doc__)
    parser.add_argument("file", type=Path, nargs="*", help="the first is that of `bench all`")
    options = parser.parse_args(argv)
    if options.file:
        lines = [line for path in options.file for line in read(path)]
        STORED.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    for path, text in documents(read(STORED)).items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
    return 0


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def documents(lines: Sequence[Line]) -> dict[Path, str]:
    """All files that the report makes, with their contents."""
    docs = ROOT / "docs"
    drawn = pictures.of(lines)
    remarks = _REMARKS.read_text("utf-8").strip() if _REMARKS.exists() else ""
    return {
        docs / "performance.md": page.of(lines, list(drawn), remarks),
        docs / "scaling.md": scaling.of(lines),
        **{docs / "pictures" / name: text for name, text in drawn.items()},
    }
