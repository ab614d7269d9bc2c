"""Every page, as a reader with a screen reader, a keyboard, weak eyes or a phone meets it.

In English each page is looked at in light and dark, at 1440 and 1280 pixels and on a phone. In
Korean, whose words have other widths, each page of its own kind is looked at in light colours, at
1440 pixels and on a phone. The words of all pages in Korean: tests/test_translations.py.

axe-core takes longer than all else. So it looks at each page of its own kind in English and light,
and in dark at the colours of a few; accessible.js measures the contrast on every page in both. With
--slow axe-core looks at everything on every page: in both languages and themes, and on a phone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.browser.page_list import PAGES, Page
from tests.browser.reader import PHONE, Reader, Rules
from tests.browser.site import Site

pytestmark = pytest.mark.processes

DESK: Final = (1440, 900)
LAPTOP: Final = (1280, 800)
# `script/test --slow`
IS_SLOW: Final = os.environ.get("JOBU_TEST_SLOW") == "1"
# One picture of each with JOBU_TEST_PICTURES=1.
PHOTOGRAPHED: Final = {"dashboard", "jobs", "job", "executions", "execution"}


def test_every_page_is_accessible_fits_and_loads_nothing_from_elsewhere(
    reader: Reader, site: Site
) -> None:
    in_full = IS_SLOW or reader.language == "en"
    name = reader.language
    rows = site.rows(job=f"{name} nightly", paused=f"{name} halted", shadow=f"{name} shadow")
    found = [
        f"{path} {complaint}"
        for page in PAGES
        if in_full or page.about
        for path in [page.address.format(**rows)]
        for complaint in complaints(reader, page, path, in_full=in_full)
    ]
    assert not found, "\n".join(found)
    assert not re.findall(r" 500 \d+ ms.*", (site.system.place / "web.log").read_text())


def complaints(reader: Reader, page: Page, path: str, *, in_full: bool) -> Iterator[str]:
    reader.resize(*DESK)
    reader.open(path)
    if reader.path != path:
        yield f"leads to {reader.path}"
        return
    if reader.script("return document.documentElement.lang") != reader.language:
        yield "is in another language"
    if page.name == "dashboard":
        reader.until(lambda: len(reader.all("[role=img] canvas")) == 3, "three charts")
    reader.screenshot(page.name)
    with_axe = IS_SLOW or (in_full and page.about != "")
    yield from reader.complaints(Rules.EVERYTHING if with_axe else Rules.NOTHING)
    if in_full:
        reader.darken()
        if page.name in PHOTOGRAPHED:
            reader.screenshot(f"{page.name}-dark")
        rules = Rules.COLOURS if page.name in PHOTOGRAPHED else Rules.NOTHING
        found = reader.complaints(Rules.EVERYTHING if IS_SLOW else rules)
        yield from (f"in the dark: {each}" for each in found)
        reader.darken(dark=False)
    for size in (LAPTOP, PHONE) if in_full else (PHONE,):
        reader.resize(*size)
        if wide := reader.too_wide():
            yield f"is {wide} pixels wider than {size[0]}"
    if IS_SLOW:
        yield from (f"on a phone: {each}" for each in reader.complaints(Rules.EVERYTHING))
    if page.name in PHOTOGRAPHED:
        reader.screenshot(f"{page.name}-phone")
