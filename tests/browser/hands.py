"""How a person acts on a page, with each click counted: by a pointer, or by keys alone.

A click is what opens, sends or presses something. Fields do not count: texts, choices, ticks. With
the keyboard Enter counts as a click, and the ways to a field (Tab, arrows) do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.browser.reader import Reader

# How often the way to an element is looked up again: pages change while one goes there.
_TRIES: Final = 8
# Where the focus is among the stops of the Tab key, and where the element is.
_STOPS: Final = """
const stops = [...document.querySelectorAll(
  "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex], iframe",
)].filter((node) =>
  node.tabIndex >= 0 && !node.disabled && !node.closest("[inert]")
  && node.checkVisibility({ visibilityProperty: true })
  && (node.type !== "radio" || node.checked || node === arguments[0]
      || !document.querySelector(`[type=radio][name="${node.name}"]:checked`)),
);
const at = document.activeElement;
const passed = stops.filter((node) =>
  node === at || node.compareDocumentPosition(at) & Node.DOCUMENT_POSITION_FOLLOWING);
return [passed.length - 1, stops.indexOf(arguments[0])];
"""
_IS_FOCUSED: Final = "return document.activeElement === arguments[0]"
_FOCUS_IS_SEEN: Final = """
const at = arguments[0];
const look = () => {
  const style = getComputedStyle(at);
  return [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor,
    style.backgroundColor, style.color].join();
};
const focused = look();
const isRinged = getComputedStyle(at).outlineStyle !== "none";
at.style.transition = "none";
at.blur();
const blurred = look();
at.focus();
return isRinged || focused !== blurred;
"""


class Hands(ABC):
    """A person at a page of the reader."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.clicks = 0

    def go(self, css: str) -> None:
        """Follows a link or presses a button that opens another page."""
        self.clicks += 1
        with self.reader.turning():
            self._press(self.reader.find(css))

    def palette(self, text: str, *, finds: str) -> None:
        """Opens the palette, types, and takes what it finds first: its text contains `finds`."""
        self.clicks += 2
        self._open_palette()
        self.reader.find("#palette-input").send_keys(text)
        chosen = "#palette-list [aria-selected=true]"
        self.reader.until(lambda: finds in self.reader.text(chosen), f"{finds} in the palette")
        with self.reader.turning():
            self._take(self.reader.find(chosen))

    @abstractmethod
    def fill(self, css: str, text: str) -> None:
        """Replaces the text of an input."""

    @abstractmethod
    def tick(self, css: str) -> None:
        """Ticks a box, or takes one of several choices."""

    @abstractmethod
    def select(self, css: str, value: str) -> None:
        """Takes one of the options of a list."""

    @abstractmethod
    def search(self, css: str, text: str) -> None:
        """Types into the search of a page, and sends it with Enter: one click."""

    @abstractmethod
    def _press(self, element: WebElement) -> None: ...

    @abstractmethod
    def _open_palette(self) -> None: ...

    @abstractmethod
    def _take(self, option: WebElement) -> None:
        """Takes the chosen line of the palette."""


class Pointer(Hands):
    """A mouse or a finger, and keys for texts."""

    def fill(self, css: str, text: str) -> None:
        element = self.reader.find(css)
        element.clear()
        element.send_keys(text)

    def tick(self, css: str) -> None:
        self._press(self.reader.find(css))

    def select(self, css: str, value: str) -> None:
        Select(self.reader.find(css)).select_by_value(value)

    def search(self, css: str, text: str) -> None:
        self.clicks += 1
        with self.reader.turning():
            self.reader.find(css).send_keys(text + Keys.ENTER)

    def _press(self, element: WebElement) -> None:
        # To the middle: a bar may stand above the lower end of the window.
        self.reader.script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def _open_palette(self) -> None:
        self.reader.find("#palette-open").click()

    def _take(self, option: WebElement) -> None:
        option.click()


class Keyboard(Hands):
    """Keys alone. Every element that it uses is reached by them, and shows that it is there."""

    def fill(self, css: str, text: str) -> None:
        self._reach(self.reader.find(css))
        keys = ActionChains(self.reader.driver)
        keys.key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
        keys.send_keys(text).perform()

    def tick(self, css: str) -> None:
        element = self.reader.find(css)
        if element.get_attribute("type") != "radio":
            self._reach(element)
            self._keys(Keys.SPACE)
            return
        # Tab leads to the choice that is taken, and arrows from there to the others.
        name = element.get_attribute("name")
        self._reach(self.reader.find(f"[name='{name}']:checked"))
        while not element.is_selected():
            self._keys(Keys.ARROW_DOWN)

    def select(self, css: str, value: str) -> None:
        element = self.reader.find(css)
        self._reach(element)
        values = [each.get_attribute("value") for each in Select(element).options]
        now = values.index(element.get_attribute("value"))
        steps = values.index(value) - now
        self._keys((Keys.ARROW_DOWN if steps > 0 else Keys.ARROW_UP) * abs(steps))
        assert element.get_attribute("value") == value

    def search(self, css: str, text: str) -> None:
        self.clicks += 1
        self._reach(self.reader.find(css))
        with self.reader.turning():
            self._keys(text + Keys.ENTER)

    def _press(self, element: WebElement) -> None:
        self._reach(element)
        self._keys(Keys.ENTER)

    def _open_palette(self) -> None:
        self.reader.find("#palette-open")  # the script that listens is there
        keys = ActionChains(self.reader.driver)
        keys.key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()

    def _take(self, option: WebElement) -> None:
        self._keys(Keys.ENTER)

    def _keys(self, keys: str) -> None:
        ActionChains(self.reader.driver).send_keys(keys).perform()

    def _reach(self, element: WebElement) -> None:
        """Presses Tab, as often as there are stops on the way, and looks where that leads."""
        script = self.reader.script
        for _try in range(_TRIES):
            if script(_IS_FOCUSED, element):
                assert script(_FOCUS_IS_SEEN, element), f"no focus is seen on {_html(element)}"
                return
            here, there = script(_STOPS, element)
            assert there >= 0, f"Tab does not stop at {_html(element)}"
            keys = ActionChains(self.reader.driver)
            if there > here:
                keys.send_keys(Keys.TAB * (there - here))
            else:
                keys.key_down(Keys.SHIFT).send_keys(Keys.TAB * (here - there)).key_up(Keys.SHIFT)
            keys.perform()
        raise AssertionError(f"Tab does not lead to {_html(element)}")


def _html(element: WebElement) -> str:
    return str(element.get_attribute("outerHTML"))[:200]
