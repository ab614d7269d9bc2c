"""Failures, activity and the palette as a reader meets them: by mouse, by keyboard, on a phone."""

from __future__ import annotations

from typing import Final

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.browser.reader import PHONE, Reader
from tests.browser.site import Site

pytestmark = pytest.mark.processes

JOBS: Final = "/admin/scheduler/cronjob/"
FAILURES: Final = "/admin/failures/"
WIDTHS: Final = ((1440, 900), (1280, 800), PHONE)


def fits(reader: Reader, path: str) -> None:
    """Looks at a page in each width, light and dark."""
    reader.resize()
    reader.open(path)
    complaints = reader.complaints()
    reader.darken()
    complaints += [f"in the dark: {each}" for each in reader.complaints()]
    for width, height in WIDTHS:
        reader.resize(width, height)
        if wide := reader.too_wide():
            complaints.append(f"{wide} pixels wider than {width}")
    reader.darken(dark=False)
    reader.resize()
    assert not complaints, f"{path}:\n" + "\n".join(complaints)


def test_a_failure_is_found_looked_at_marked_as_seen_and_in_the_activity(
    reader: Reader, site: Site
) -> None:
    job = site.job(f"{reader.language} failing")
    reader.open(f"{JOBS}{job}/run/")
    reader.press()

    def shown() -> bool:
        reader.open(f"{FAILURES}?job={reader.language}+failing")
        return bool(reader.all("#failures tbody a[href*='/failures/']"))

    reader.until(shown, "the kind of failure")
    fits(reader, reader.path)
    reader.follow("#failures tbody a[href*='/failures/']")
    fits(reader, reader.path)
    reader.screenshot("failure")
    reader.press("form[action*='/seen/'] button")
    reader.open(f"{FAILURES}?job={reader.language}+failing")
    assert not reader.all("#failures tbody a[href*='/failures/']")
    fits(reader, "/admin/activity/?kind=failure")
    assert f"reader-{reader.language}" in reader.text("#activity tbody tr")
    reader.screenshot("activity")


def test_the_palette_goes_to_a_job_by_the_keyboard(reader: Reader, site: Site) -> None:
    name = f"{reader.language} daily"
    reader.open(FAILURES)
    reader.find("#palette-open")

    keys = ActionChains(reader.driver)
    keys.key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    reader.find("#palette-input").send_keys(name)
    reader.until(lambda: name in reader.text("#palette-list [aria-selected=true]"), name)
    reader.look("palette")
    reader.darken()
    assert not reader.complaints()
    reader.darken(dark=False)
    assert len(reader.all("#palette-list li")) > 1
    reader.find("#palette-input").send_keys(Keys.ARROW_DOWN + Keys.ARROW_UP)
    assert reader.find("#palette-input").get_attribute("aria-activedescendant") == "palette-0"
    reader.find("#palette-input").send_keys(Keys.ENTER)
    reader.until(lambda: reader.path == f"{JOBS}{site.job(name)}/overview/", "the page of the job")

    ActionChains(reader.driver).send_keys("/").perform()
    reader.find("#palette-input").send_keys(Keys.ESCAPE)
    reader.until(lambda: not reader.all("#palette[open]"), "the palette is closed")


def test_a_row_s_menu_opens_by_the_keyboard(reader: Reader) -> None:
    reader.open(JOBS)
    reader.find("tbody button[aria-haspopup]").send_keys(Keys.ENTER)
    reader.find("nav a[href$='/run/']")
    assert not reader.complaints()
