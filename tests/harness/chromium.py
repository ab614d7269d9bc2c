"""Debian's Chromium without a window, controlled through chromedriver."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.harness.servers.base import ServerUnavailableError, find_program, private_directory
from tests.harness.servers.guardian import birth, guardian, kill_tree

# The fonts are necessary: without a Korean font the Korean pages show empty boxes.
DEBIAN_PACKAGES: Final = "chromium chromium-driver fonts-nanum"
WIDTH, HEIGHT = 1400, 900

ARGUMENTS: Final = (
    "--headless=new",
    # Both are for root in a container, which may have neither a sandbox nor a large /dev/shm.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--force-prefers-reduced-motion",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--no-first-run",
    f"--window-size={WIDTH},{HEIGHT}",
)
# Selenium looks for no driver on the network, and sends no statistics.
QUIET: Final = {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}


def programs() -> tuple[str, str]:
    """Returns the paths of the browser and its driver.

    Raises ServerUnavailableError, which names the packages to install.
    """
    found = find_program("chromium"), find_program("chromedriver")
    if None in found:
        raise ServerUnavailableError(
            "no chromium and chromedriver on this machine. Install the Debian packages "
            f"{DEBIAN_PACKAGES} (script/test --install-servers does)."
        )
    return str(found[0]), str(found[1])


@contextmanager
def chromium(
    *, language: str = "en", javascript: bool = True, log_path: Path | None = None
) -> Iterator[webdriver.Chrome]:
    """Yields a browser with an empty profile that prefers `language`, and closes it at the end."""
    browser, driver = programs()
    profile = private_directory("jobu-chromium-", None)
    options = Options()
    options.binary_location = browser
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}", f"--accept-lang={language}"):
        options.add_argument(argument)
    prefs: dict[str, Any] = {"intl.accept_languages": language}
    if not javascript:
        prefs["profile.managed_default_content_settings.javascript"] = 2
    options.add_experimental_option("prefs", prefs)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    output = None if log_path is None else str(log_path)
    service = Service(driver, log_output=output, env=os.environ | QUIET)
    started = webdriver.Chrome(options=options, service=service)
    pid = service.process.pid
    born = birth(pid)
    assert born is not None
    guardian.add_process(pid, born)
    try:
        yield started
    finally:
        started.quit()
        kill_tree(pid, born)
        guardian.forget_process(pid)
        shutil.rmtree(profile, ignore_errors=True)
