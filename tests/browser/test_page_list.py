"""The list of pages is complete: a page that is added to the admin is looked at in a browser."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.urls import resolve

from tests.browser import pictures
from tests.browser.page_list import ELSEWHERE, NO_PAGES, PAGES
from tests.browser.site import LANGUAGES
from tests.harness.system import ROOT


def names(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from names(pattern.url_patterns)
        elif pattern.name is not None:  # without one: redirects of addresses of old versions
            yield pattern.name


class _One(Formatter):
    """A number for each row that an address names."""

    def get_value(self, key: Any, args: Any, kwargs: Any) -> str:
        return "1"


def name_of(address: str) -> str:
    return str(resolve(urlsplit(_One().format(address)).path).url_name)


def test_every_page_of_the_admin_is_on_the_list():
    listed = {name_of(page.address) for page in PAGES}

    there, known = set(names(admin.site.urls[0])), listed | ELSEWHERE | NO_PAGES
    assert sorted(there - known) == []
    assert sorted(known - there) == []
    assert sorted(listed & (ELSEWHERE | NO_PAGES)) == []


def test_no_two_pages_have_one_name():
    assert [name for name, count in Counter(page.name for page in PAGES).items() if count > 1] == []


def test_each_page_has_its_pictures_and_each_picture_is_in_a_doc():
    wanted = {
        pictures.place_of(page, language) for page in pictures.pictured() for language in LANGUAGES
    }
    there = set(pictures.PICTURES.rglob("*.png"))
    docs = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        (doc.parent / name).resolve()
        for doc in docs
        for name in re.findall(r"\]\(([^)]*\.png)\)", doc.read_text(encoding="utf-8"))
    }

    assert there == wanted, "run `python -m tests.browser.pictures`"
    assert shown == wanted
    assert {each.name for each in there if each.stat().st_size > pictures.LARGEST_BYTES} == set()
    assert pictures.GALLERY.read_text(encoding="utf-8") == pictures.gallery()
