"""docs/checklist.md has every line of the checklist once, and all tests that it names exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "checklist.md"
ROW = re.compile(r"^\| ([A-Z]\d\d) \| (.+?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
SHOWN_BY = re.compile(r"\[([\w/]+\.py)::(test_\w+)\]\(\.\./tests/([\w/]+\.py)\)")
DEFINITION = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)

# Missing numbers were never used, or their subject is outside of jobu.
LAST = {
    "A": 28,
    "B": 10,
    "C": 15,
    "D": 15,
    "E": 8,
    "F": 10,
    "G": 28,
    "H": 10,
    "I": 19,
    "J": 7,
    "M": 9,
}
OTHERS = {
    "F": [15],
    "H": [13, 14],
    "K": [1, 2, 3],
    "N": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "P": [1, 2, 3, 4, 5, 6, 7, 8],
    "L": [2, 4, 5, 6, 7, 8, 9, 10, 11, 13],
    "O": [1, 2, 3, 4, 5],
}
LINES = {f"{letter}{n:02}" for letter, last in LAST.items() for n in range(1, last + 1)} | {
    f"{letter}{n:02}" for letter, numbers in OTHERS.items() for n in numbers
}


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_page_has_every_line_of_the_checklist_once() -> None:
    numbers = Counter(number for number, *_ in rows())

    assert LINES - set(numbers) == set()
    assert set(numbers) - LINES == set()
    assert [number for number, times in numbers.items() if times > 1] == []
    table_lines = re.findall(r"^\| [A-Z]\d\d", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table_lines) == len(numbers)  # the pattern matches every row


def test_every_line_names_a_test_and_every_named_test_exists() -> None:
    missing = []
    known: dict[str, set[str]] = {}
    for number, _, shown_by, _ in rows():
        named = SHOWN_BY.findall(shown_by)
        if not named or len(named) != shown_by.count("::"):
            missing.append(f"{number}: {shown_by}")
        for text, test, target in named:
            if text != target or test not in known.setdefault(target, _tests_of(target)):
                missing.append(f"{number}: {text}::{test}")

    assert missing == []


def _tests_of(file: str) -> set[str]:
    path = TESTS / file
    if not path.is_file():
        return set()
    return set(DEFINITION.findall(path.read_text(encoding="utf-8")))
