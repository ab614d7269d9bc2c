"""A user at a browser: opens pages, types, waits for elements, and checks pages."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from tests.harness import axe
from tests.harness.chromium import HEIGHT, WIDTH
from tests.harness.waiting import PATIENCE

Answer = TypeVar("Answer")
SECONDS: Final = 45.0 * PATIENCE
PHONE: Final = (390, 844)
_SETTLED_SECONDS: Final = 5.0 * PATIENCE
# A page changes while one looks at it: look again.
_MOVING: Final = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementNotInteractableException,
)
# In one call: to ask the driver for each element whether it is displayed takes as many.
_SHOWN: Final = """
return [...document.querySelectorAll(arguments[0])].find((node) => {
  const { width, height } = node.getBoundingClientRect();
  const how = { opacityProperty: true, visibilityProperty: true };
  return width > 0 && height > 0 && node.checkVisibility(how);
}) || null;
"""
# What the page has loaded from anywhere but the site.
_FOREIGN: Final = """
return performance.getEntriesByType("resource").map(({ name }) => name)
  .filter((name) => /^(https?|wss?):/.test(name) && new URL(name).origin !== location.origin);
"""
# The standards that the pages keep, and the advice of axe-core itself.
_EVERYTHING: Final = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# What may differ in other colours.
_COLOURS: Final = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
# Rows below the fifth are as those above, and the menu is looked at once, on the front page.
_AS_OTHERS: Final = "tbody tr:nth-child(n+6)"
_MENU: Final = "#nav-sidebar"
# The theme's: it calls each box that it lets scroll the same.
_KNOWN: Final = 'landmark-unique .*"simplebar-content-wrapper"'
_AXE: Final = """
const [runOnly, exclude, done] = arguments;
const options = {
  runOnly, resultTypes: ["violations"], preload: false, iframes: false, selectors: false,
};
axe.run({ include: ["html"], exclude }, options).then(
  ({ violations }) => done(violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html }) => `${id} (${help}): ${html.slice(0, 200)}`))),
  (error) => done([String(error)]),
);
"""


class Rules(Enum):
    """What axe-core looks for."""

    EVERYTHING = "everything"
    COLOURS = "colours"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Reader:
    driver: Chrome
    url: str
    language: str
    screenshots: Path

    # --- going about ------------------------------------------------------------------------------

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    @property
    def path(self) -> str:
        return str(self.driver.current_url).removeprefix(self.url)

    def sign_in(self, name: str, password: str) -> None:
        self.type("username", name)
        self.type("password", password)
        self.press("#login-form [type=submit]")

    def follow(self, css: str) -> None:
        """Opens the page of the link."""
        with self.turning():
            self.find(css).click()

    def press(self, css: str = "form:not([action]) [type=submit]") -> None:
        """Presses a button that sends its form."""
        with self.turning():
            self.find(css).click()

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Waits for the next page, which what happens inside opens."""
        page = self.driver.find_element(By.TAG_NAME, "html")
        yield
        WebDriverWait(self.driver, SECONDS, 0.05).until(staleness_of(page))
        self.until(
            lambda: self.script("return document.readyState") == "complete", "the whole page"
        )

    # --- seeing and typing ------------------------------------------------------------------------

    def until(self, look: Callable[[], Answer], what: str, seconds: float = SECONDS) -> Answer:
        """Waits for the first true answer and returns it."""
        wait = WebDriverWait(self.driver, seconds, 0.05, ignored_exceptions=_MOVING)
        try:
            return wait.until(lambda _driver: look())
        except TimeoutException as error:
            self.save_picture("failed")
            raise AssertionError(
                f"{self.driver.current_url}: waited {seconds:g} s for {what}"
            ) from error

    def find(self, css: str) -> WebElement:
        """Waits for the first visible element and returns it."""

        found = self.until(lambda: self.script(_SHOWN, css), css)
        assert isinstance(found, WebElement)
        return found

    def all(self, css: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, css))

    def text(self, css: str) -> str:
        """Returns the current text of the element; empty if there is no such element."""
        for element in self.all(css):
            try:
                return str(element.text).strip()
            except StaleElementReferenceException:
                continue
        return ""

    def type(self, name: str, text: str) -> None:
        """Replaces the text of the input of that name."""
        element = self.find(f"[name='{name}']")
        element.clear()
        element.send_keys(text)

    def script(self, source: str, *arguments: Any) -> Any:
        return self.driver.execute_script(source, *arguments)

    # --- looking closely --------------------------------------------------------------------------

    def complaints(self, rules: Rules = Rules.NOTHING) -> list[str]:
        """Returns accessibility problems of this page, how it is too wide, errors of its scripts,
        and what it has loaded from other hosts. `rules` are those of axe-core."""
        logged = [
            f"console: {entry['message']}"
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]
        wide = self.too_wide()
        return [
            *self.script(_accessible()),
            *self.axe(rules),
            *logged,
            *(f"from another host: {url}" for url in self.script(_FOREIGN)),
            *([f"{wide} pixels wider than its window"] if wide else []),
        ]

    def axe(self, rules: Rules) -> list[str]:
        """Returns what axe-core finds. Where it is missing, nothing: test_axe.py says so loudly."""
        if rules is Rules.NOTHING or not axe.is_installed():
            return []
        if self.script("return typeof axe === 'undefined'"):
            self.script(axe.script())
        wanted = _EVERYTHING if rules is Rules.EVERYTHING else _COLOURS
        exclude = [_AS_OTHERS] if self.path == "/admin/" else [_AS_OTHERS, _MENU]
        found = self.driver.execute_async_script(_AXE, wanted, exclude)
        return [f"axe: {each}" for each in found if not re.match(_KNOWN, each, re.DOTALL)]

    def too_wide(self) -> int:
        """Returns by how many pixels the page is wider than its window.

        A picture that follows the width of the window does so a moment later.
        """

        def wide() -> int:
            source = "return document.documentElement.scrollWidth - window.innerWidth"
            return max(0, int(self.script(source)))

        with suppress(TimeoutException):
            WebDriverWait(self.driver, _SETTLED_SECONDS, 0.1).until(lambda _driver: wide() == 0)
        return wide()

    def look(self, name: str) -> None:
        """Checks that the page has no complaints, and saves a picture of one that has."""
        self.screenshot(name)
        found = self.complaints(Rules.EVERYTHING)
        if found:
            self.save_picture(name)
        assert not found, f"{self.path}:\n" + "\n".join(found)

    def screenshot(self, name: str) -> None:
        """Saves a picture with JOBU_TEST_PICTURES=1: for people, because no test looks at it."""
        if os.environ.get("JOBU_TEST_PICTURES") == "1":
            self.save_picture(name)

    def save_picture(self, name: str) -> None:
        """Takes a picture of the whole page, even if it is long."""
        self.screenshots.mkdir(parents=True, exist_ok=True)
        (self.screenshots / f"{name}.png").write_bytes(self.picture(whole=True))

    def picture(self, *, whole: bool = False) -> bytes:
        answer = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole}
        )
        return base64.b64decode(answer["data"])

    def resize(self, width: int = WIDTH, height: int = HEIGHT, *, scale: float = 1) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": scale,
                "mobile": (width, height) == PHONE,
            },
        )

    def darken(self, *, dark: bool = True) -> None:
        """Switches to dark colours in the way of the theme."""
        self.script("document.documentElement.classList.toggle('dark', arguments[0])", dark)


def _accessible() -> str:
    return _text_of(str(Path(__file__).parent / "accessible.js"))


@cache
def _text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
