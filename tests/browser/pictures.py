"""`python -m tests.browser.pictures`: takes all pictures of docs/pictures."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.browser.history import REPORT
from tests.browser.reader import Reader
from tests.browser.site import PASSWORD, Site, running_site
from tests.harness.chromium import HEIGHT, WIDTH, chromium
from tests.harness.system import ROOT

PICTURES: Final = ROOT / "docs" / "pictures"
LARGEST_BYTES: Final = 200_000


def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="jobu-pictures-") as temporary,
        running_site(
            place := _named(temporary), seed="history.shop", handlers="tests.browser.shop"
        ) as site,
        chromium() as driver,
    ):
        reader = Reader(driver=driver, url=site.url, language="en", screenshots=place)
        reader.resize()
        reader.open("/admin/login/")
        reader.sign_in("minji", PASSWORD)
        for name, show in VIEWS.items():
            reader.resize()
            show(reader, site)
            taken = reader.picture()
            (PICTURES / f"{name}.png").write_bytes(taken)
            print(f"{name}.png: {len(taken):,} bytes")
            if len(taken) > LARGEST_BYTES:
                print(f"larger than {LARGEST_BYTES:,} bytes", file=sys.stderr)
                return 1
    return 0


def _named(temporary: str) -> Path:
    """Creates the directory `shop`. The worker's name contains the name of its directory."""
    place = Path(temporary) / "shop"
    place.mkdir()
    return place


def _fold_sidebar(reader: Reader, *, folded: bool = True) -> None:
    """Folds the sidebar, from the next page on."""
    reader.script("localStorage.setItem('sidebarDesktopOpen', arguments[0])", str(int(not folded)))


def show_dashboard(reader: Reader, site: Site) -> None:
    reader.open(f"/admin/scheduler/cronjob/{site.job('Order sync')}/run/")
    reader.press()
    reader.open("/admin/")
    reader.until(lambda: len(reader.all("[role=img] canvas")) == 3, "three charts")
    reader.find("progress")


def show_jobs(reader: Reader, site: Site) -> None:
    _fold_sidebar(reader)
    reader.open("/admin/scheduler/cronjob/")
    reader.find(".job-strip")


def show_form(reader: Reader, site: Site) -> None:
    _fold_sidebar(reader, folded=False)
    reader.open("/admin/scheduler/cronjob/add/")
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


def show_execution(reader: Reader, site: Site) -> None:
    """Takes the picture of a running execution with some log lines."""
    _fold_sidebar(reader)
    reader.open(f"/admin/scheduler/cronjob/{site.job(REPORT)}/run/")
    reader.press()
    reader.open(reader.path)  # without the word of thanks
    reader.resize(WIDTH * 4 // 3, HEIGHT * 4 // 3, scale=0.75)
    bar = "#execution-explanation [role=progressbar]"
    reader.until(lambda: float(reader.find(bar).get_attribute("aria-valuenow") or 0) >= 50, "50 %")


VIEWS: Final[dict[str, Callable[[Reader, Site], None]]] = {
    "dashboard": show_dashboard,
    "jobs": show_jobs,
    "job-form": show_form,
    "execution": show_execution,
}


if __name__ == "__main__":
    sys.exit(main())
