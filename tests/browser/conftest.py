"""One running site and one browser of each kind for all tests in browsers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests import plugin
from tests.browser.reader import Reader
from tests.browser.site import LANGUAGES, PASSWORD, Site, running_site
from tests.harness.chromium import QUIET, chromium, programs
from tests.harness.servers import ServerUnavailableError
from tests.harness.system import ROOT

SCREENSHOTS = ROOT / "test-artifacts" / "browser"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        programs()
    except ServerUnavailableError as error:
        plugin.skip_without_server(str(error))
    os.environ.update(QUIET)
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    with running_site(tmp_path_factory.mktemp("site"), seed="seed.people_and_jobs") as started:
        yield started


@pytest.fixture(scope="session", params=LANGUAGES)
def signed_in(request: pytest.FixtureRequest, site: Site) -> Iterator[Reader]:
    """Returns a signed-in reader whose browser prefers the language."""
    language: str = request.param
    log = site.system.place / f"chromedriver-{language}.log"
    with chromium(language=language, log_path=log) as driver:
        reader = Reader(
            driver=driver, url=site.url, language=language, screenshots=SCREENSHOTS / language
        )
        reader.resize()
        reader.open("/admin/login/")
        reader.sign_in(f"reader-{language}", PASSWORD)
        yield reader


@pytest.fixture
def reader(signed_in: Reader) -> Reader:
    signed_in.resize()
    signed_in.driver.get_log("browser")  # what another test has seen
    return signed_in
