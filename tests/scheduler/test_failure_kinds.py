"""Two failures are of one kind when they differ only in what belongs to one run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from scheduler.failure_kinds import LONGEST, first_line, kind_of, normal_text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("ValueError: order 4711 is not paid", "ValueError: order <n> is not paid"),
        ("took 1,234.5 s and not 30", "took <n> s and not <n>"),
        ("KeyError: 'anna'", "KeyError: <text>"),
        ('no table "shop.orders"', "no table <text>"),
        ("can't open the shop's door", "can't open the shop's door"),
        ("run 0b6f1c1e-7d1c-4d6e-9a55-0123456789ab is lost", "run <id> is lost"),
        ("commit 3f2a9bc41d failed at 0x7FFE", "commit <hex> failed at <hex>"),
        ("the facade decade added", "the facade decade added"),
        ("no file /var/lib/shop/7.csv", "no file <path>"),
        (r"no file C:\shop\7.csv here", "no file <path> here"),
        ("GET https://shop.example/a?id=7 said 503", "GET <url> said <n>"),
        ("mail to kim@shop.example bounced", "mail to <address> bounced"),
        ("late since 2026-11-28T10:00:00+09:00", "late since <time>"),
        ("주문 17번이 없습니다", "주문 <n>번이 없습니다"),
        ("\n  \n  first \t line \nsecond 1", "first line"),
        ("", ""),
    ],
)
def test_what_belongs_to_one_run_is_replaced(error, text):
    assert normal_text(error) == text


def test_handler_and_exception_are_part_of_the_kind():
    same: dict[str, Any] = {
        "handler_name": "mail",
        "exception_class": "shop.NoStock",
        "error": "none of 3 left",
    }
    kind = kind_of(**same)

    assert kind_of(**{**same, "error": "none of 8 left\nmore"}).fingerprint == kind.fingerprint
    for other in ({"handler_name": "sms"}, {"exception_class": None}, {"error": "none left"}):
        assert kind_of(**{**same, **other}).fingerprint != kind.fingerprint


@pytest.mark.parametrize(
    "error", ["a" * 1_000_000, "'" * 100_000, "/" * 100_000, "1." * 50_000, "a@" * 50_000, "\udc80"]
)
def test_no_error_is_too_long_or_too_strange(error):
    begin = time.monotonic()

    kind = kind_of(handler_name="mail", exception_class=None, error=error)

    assert len(kind.text) <= LONGEST
    assert len(first_line(error)) <= LONGEST
    assert len(kind.fingerprint) == 32
    assert time.monotonic() - begin < 1
