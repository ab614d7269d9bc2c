"""`python -m tests.browser.pictures [NAME ...]`: takes all pictures of docs/pictures, or the named.

Each page of its own kind (page_list.py) in English and in Korean, at a desk, in light colours. Also
writes docs/pages.md, which shows them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.browser.history import REPORT
from tests.browser.page_list import PAGES, Page
from tests.browser.reader import Reader
from tests.browser.site import DIVIDED, LANGUAGES, PASSWORD, Site, running_site
from tests.harness.chromium import chromium
from tests.harness.system import ROOT

PICTURES: Final = ROOT / "docs" / "pictures"
GALLERY: Final = ROOT / "docs" / "pages.md"
LARGEST_BYTES: Final = 300_000
# Small enough for pages of documents, and large enough to be read.
SIZE: Final = (1400, 900)
SCALE: Final = 0.75


def pictured() -> list[Page]:
    return [page for page in PAGES if page.about]


def place_of(page: Page, language: str) -> Path:
    return PICTURES / language / f"{page.name}.png"


def gallery() -> str:
    """Returns docs/pages.md."""
    return "\n".join(_gallery())


def _gallery() -> Iterator[str]:
    yield "# The pages\n"
    yield "Each page of the admin in English, with a link to the same page in Korean. They show a"
    yield "small shop with one day of history. `python -m tests.browser.pictures` takes the"
    yield "pictures and writes this page.\n"
    for page in pictured():
        name = page.name.replace("-", " ").capitalize()
        yield f"## {name}\n"
        yield f"{page.about} [In Korean](pictures/ko/{page.name}.png).\n"
        yield f"![{name}](pictures/en/{page.name}.png)\n"


def main(names: list[str]) -> int:
    wanted = [page for page in pictured() if not names or page.name in names]
    GALLERY.write_text(gallery(), encoding="utf-8")
    too_large = 0
    with (
        tempfile.TemporaryDirectory(prefix="jobu-pictures-") as temporary,
        running_site(
            place := _named(temporary), seed="history.shop", handlers="tests.browser.shop"
        ) as site,
    ):
        for language in LANGUAGES:
            with chromium(language=language) as driver:
                reader = Reader(driver=driver, url=site.url, language=language, screenshots=place)
                reader.resize()
                reader.open("/admin/login/")
                reader.sign_in("minji", PASSWORD)
                rows = site.rows(job="Order sync", paused="Warehouse labels", shadow="Old crontab")
                for page in wanted:
                    reader.resize(*SIZE, scale=SCALE)
                    SHOWN.get(page.name, _open)(reader, site, page.address.format(**rows))
                    taken = reader.picture()
                    path = place_of(page, language)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(taken)
                    print(f"{language}/{page.name}.png: {len(taken):,} bytes")
                    too_large += len(taken) > LARGEST_BYTES
    if too_large:
        print(f"{too_large} are larger than {LARGEST_BYTES:,} bytes", file=sys.stderr)
    return int(too_large > 0)


def _named(temporary: str) -> Path:
    """Creates the directory `shop`. The worker's name contains the name of its directory."""
    place = Path(temporary) / "shop"
    place.mkdir()
    return place


def _open(reader: Reader, site: Site, address: str) -> None:
    reader.open(address)


def show_dashboard(reader: Reader, site: Site, address: str) -> None:
    start_report(reader, site)
    reader.open(address)
    reader.until(lambda: len(reader.all("[role=img] canvas")) == 3, "three charts")
    reader.find("progress")


def show_jobs(reader: Reader, site: Site, address: str) -> None:
    reader.open(address)
    reader.find(".job-strip")


def show_form(reader: Reader, site: Site, address: str) -> None:
    reader.open(address)
    reader.type("name", "Opening checks")
    reader.type("handler_name", "report.sales")
    reader.type("timezone", "Asia/Seoul")
    reader.type("cron_expression", "*/20 7-9 * * 1-5")
    reader.until(lambda: len(reader.all(".job-next-runs tbody tr")) == 20, "the next 20 runs")
    reader.find("[data-param]")
    reader.script(
        "document.querySelector('[name=handler_name]').scrollIntoView({block: 'start'});"
        "document.querySelector('[name=cron_expression]').focus({preventScroll: true})"
    )


def show_execution(reader: Reader, site: Site, address: str) -> None:
    """Shows a running execution with some log lines."""
    start_report(reader, site)
    reader.open(reader.path)  # without the word of thanks
    bar = "#execution-explanation [role=progressbar]"
    reader.until(lambda: float(reader.find(bar).get_attribute("aria-valuenow") or 0) >= 50, "50 %")


def show_worker(reader: Reader, site: Site, address: str) -> None:
    start_report(reader, site)
    reader.until(lambda: site.running(REPORT), "a run")
    reader.open(address)


def show_divided(reader: Reader, site: Site, address: str) -> None:
    """Shows a run some of whose shards have ended."""
    reader.open(f"/admin/scheduler/cronjob/{site.job(DIVIDED)}/run/")
    reader.press("main form [type=submit]")
    reader.open(reader.path)  # without the word of thanks
    bar = "#execution-shards [role=progressbar]"
    reader.until(lambda: float(reader.find(bar).get_attribute("aria-valuenow") or 0) > 0, "an end")


def show_freeze(reader: Reader, site: Site, address: str) -> None:
    reader.open(address)
    reader.type("name", "Weekends of December")
    reader.type("reason", "nobody is there to look after the warehouse")
    reader.type("hours", "Fri 18:00 - Mon 06:00")
    reader.press("[name=preview]")
    reader.find("#freeze-preview")
    reader.script("document.querySelector('[name=hours]').scrollIntoView({block: 'start'})")


def show_timeline(reader: Reader, site: Site, address: str) -> None:
    reader.open(address)
    reader.until(lambda: reader.find("#tl").get_attribute("aria-busy") == "false", "the timeline")


def start_report(reader: Reader, site: Site) -> None:
    reader.open(f"/admin/scheduler/cronjob/{site.job(REPORT)}/run/")
    reader.press("main form [type=submit]")


SHOWN: Final[dict[str, Callable[[Reader, Site, str], None]]] = {
    "dashboard": show_dashboard,
    "jobs": show_jobs,
    "job-add": show_form,
    "execution": show_execution,
    "execution-divided": show_divided,
    "freeze-add": show_freeze,
    "worker": show_worker,
    "timeline": show_timeline,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
