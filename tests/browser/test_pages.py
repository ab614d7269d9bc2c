"""Longer ways of users through the pages, and what the pages do by themselves.

A way goes through the same pages and scripts in either language, so each is tried in one. What a
user does daily: test_errands.py. Every page: test_every_page.py. Elements are found by names, ids
and addresses, never by words: those differ by language.
"""

from __future__ import annotations

from typing import Final

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.browser.conftest import SCREENSHOTS
from tests.browser.reader import Reader
from tests.browser.site import PASSWORD, Site
from tests.harness.chromium import chromium

pytestmark = pytest.mark.processes

JOBS: Final = "/admin/scheduler/cronjob/"
EXECUTIONS: Final = "/admin/scheduler/jobexecution/"
STATUS: Final = "#execution-explanation [aria-live]"
PROGRESS: Final = "#execution-explanation [role=progressbar]"
TITLES: Final = {"en": "Dashboard", "ko": "대시보드"}
IN_ENGLISH = pytest.mark.parametrize("signed_in", ["en"], indirect=True)
IN_KOREAN = pytest.mark.parametrize("signed_in", ["ko"], indirect=True)


def status_of(reader: Reader, site: Site) -> str:
    """Returns the status of the execution whose page is open."""
    number = reader.path.removeprefix(EXECUTIONS).split("/")[0]
    [row] = site.system.sql("SELECT status FROM job_executions WHERE id = %s", int(number))
    return str(row["status"])


def shows_end(reader: Reader, site: Site, status: str) -> None:
    """Waits until the page shows the end status of its execution, without a reload."""
    mark(reader)
    reader.until(lambda: status_of(reader, site) == status, status)
    # Offered exactly as long as it has not ended.
    reader.until(
        lambda: reader.text(STATUS) and not reader.all("a[href$='/cancel/']"),
        f"{status} on the page",
    )
    assert is_marked(reader)


def mark(reader: Reader) -> None:
    """Marks the page. A reload removes the mark."""
    reader.script("window.isTheSamePage = true")


def is_marked(reader: Reader) -> bool:
    return bool(reader.script("return window.isTheSamePage === true"))


def test_wrong_password_is_refused_and_the_right_one_opens_the_dashboard(
    reader: Reader,
) -> None:
    reader.driver.delete_all_cookies()
    reader.open("/admin/")
    assert reader.path.startswith("/admin/login/")

    reader.sign_in(f"reader-{reader.language}", "a wrong password")
    assert reader.path.startswith("/admin/login/")
    assert reader.find("#login-form [name=password]").get_attribute("value") == ""
    reader.look("login")

    reader.sign_in(f"reader-{reader.language}", PASSWORD)
    assert reader.path == "/admin/"
    assert reader.script("return document.documentElement.lang") == reader.language
    assert TITLES[reader.language] in reader.driver.title


@IN_KOREAN
def test_new_job_is_checked_while_typing_and_its_first_run_is_shown_live(
    reader: Reader, site: Site
) -> None:
    name = f"{reader.language} new"
    reader.open(JOBS)
    reader.follow("a[href$='/cronjob/add/']")

    reader.type("name", name)
    reader.type("cron_expression", "61 * * * *")
    reader.until(lambda: reader.text("#problem-cron_expression"), "what is wrong")
    assert "61" in reader.text("#problem-cron_expression")
    assert reader.find("[name=cron_expression]").get_attribute("aria-invalid") == "true"
    assert not reader.all(".job-next-runs")
    reader.screenshot("job-wrong-expression")

    reader.type("cron_expression", "*/4 * * * * *")
    reader.until(lambda: len(reader.all(".job-next-runs tbody tr")) == 20, "the next 20 runs")
    assert reader.text("#job-words")
    assert reader.text("#problem-cron_expression") == ""
    assert reader.find("[name=cron_expression]").get_attribute("aria-invalid") is None

    reader.type("handler_name", "sample" + Keys.TAB)
    seconds = reader.find("[data-param=sleep_seconds]")
    seconds.send_keys("-1")
    problem = f"#{(seconds.get_attribute('aria-describedby') or '').split()[-1]}"
    reader.until(lambda: reader.text(problem), "what is wrong with the parameter")
    reader.look("job-wrong-parameter")
    reader.press("[name=_continue]")
    assert reader.path.endswith("/add/"), "nothing is saved"
    reader.find(".errorlist, .errornote, [class*=errors]")

    seconds = reader.find("[data-param=sleep_seconds]")
    seconds.clear()
    seconds.send_keys("4")
    overlap = Select(reader.driver.find_element(By.NAME, "overlap_policy"))
    assert overlap.first_selected_option.get_attribute("value") == "allow"
    reader.press("[name=_continue]")
    assert reader.path == f"{JOBS}{site.job(name)}/change/"
    reader.look("job-saved")

    first = reader.until(lambda: site.executions(name), "the first run")[0]
    reader.open(f"{EXECUTIONS}{first}/change/")
    mark(reader)
    seen: list[float] = []

    def moves() -> bool:
        percent = float(reader.find(PROGRESS).get_attribute("aria-valuenow") or 0)
        if percent not in seen:
            seen.append(percent)
        return len(seen) >= 2 and bool(reader.text("#log-lines"))

    reader.until(moves, "progress and a line of log")
    assert seen == sorted(seen)
    reader.look("execution-running")
    reader.until(lambda: status_of(reader, site) == "SUCCESS", "SUCCESS")
    reader.until(lambda: '"count": 10' in reader.text("#execution-data"), "the result")
    assert is_marked(reader)
    reader.look("execution-succeeded")

    reader.open(f"{JOBS}{site.job(name)}/disable/")
    reader.press()
    assert reader.all(f"a[href$='/{site.job(name)}/enable/']")


@IN_KOREAN
def test_failed_run_is_retried_and_replayed_with_other_parameters(
    reader: Reader, site: Site
) -> None:
    reader.open(f"{JOBS}{site.job(f'{reader.language} failing')}/run/")
    reader.press()
    shows_end(reader, site, "FAILED")
    assert "no luck" in reader.text("#execution-explanation")
    reader.look("execution-failed")

    reader.follow("a[href$='/retry/']")
    reader.look("execution-retry")
    reader.press()
    reader.until(lambda: reader.all("#attempt-2"), "a second attempt")
    assert status_of(reader, site) == "FAILED"

    failed = reader.path
    reader.until(lambda: reader.all("a[href$='/replay/']"), "the offer to replay")
    reader.follow("a[href$='/replay/']")
    reader.type("params", '{"message": "better luck"}')
    reader.press()
    assert reader.path != failed
    shows_end(reader, site, "SUCCESS")


@IN_ENGLISH
def test_action_on_many_rows_goes_on_by_itself_to_its_end(reader: Reader, site: Site) -> None:
    call = "from tests.browser import seed; seed.many_runs('too many', 1200)"
    site.system.manage("shell", "-v", "0", "-c", call)
    reader.open(f"{EXECUTIONS}?q=too+many")
    reader.find("#action-toggle").click()
    reader.find(".actions .question a").click()
    Select(reader.find("[name=action]")).select_by_value("delete_many")
    reader.press("[name=index]")
    reader.look("bulk-question")
    assert len(site.executions("too many")) == 1200

    reader.press()
    seen: list[int] = []

    def is_over() -> bool:
        bar = reader.find("#bulk [role=progressbar]")
        worked = int(bar.get_attribute("aria-valuenow") or 0)
        if worked not in seen:
            seen.append(worked)
            if 0 < worked < 1200:
                reader.screenshot("bulk-running")
        return bool(reader.all("[data-bulk-over]")) and not reader.all("[data-bulk-work]")

    reader.until(is_over, "the end of the action", 120)
    reader.look("bulk-done")

    assert seen == sorted(seen)
    assert len(seen) > 2, "the numbers move while it works"
    assert "1200 done, 0 refused, 0 left" in reader.text("#bulk-numbers")
    assert not site.executions("too many")
    reader.follow("#bulk a[href^='/']")
    assert reader.path == f"{EXECUTIONS}?q=too+many"


@IN_KOREAN
def test_the_key_of_a_new_token_is_shown_once(reader: Reader) -> None:
    reader.open("/admin/scheduler/apitoken/add/")
    reader.type("name", "a reader's script")
    reader.press("[name=_save]")
    assert reader.path.endswith("/made/")
    reader.look("token-made")

    reader.open(reader.path)
    assert reader.path.endswith("/change/"), "the key is gone"


@IN_ENGLISH
def test_chosen_dark_mode_is_kept(reader: Reader) -> None:
    def is_dark() -> bool:
        return bool(reader.script("return document.documentElement.classList.contains('dark')"))

    reader.open("/admin/")
    for dark in (True, False):
        reader.script(
            "localStorage.setItem('adminTheme', arguments[0])", '"dark"' if dark else '"light"'
        )
        reader.open(JOBS)
        reader.until(lambda: is_dark() is dark, "light" if not dark else "darkness")  # noqa: B023


def test_job_can_be_created_and_run_without_scripts(site: Site) -> None:
    with chromium(javascript=False) as driver:
        reader = Reader(
            driver=driver, url=site.url, language="en", screenshots=SCREENSHOTS / "no-script"
        )
        reader.open("/admin/login/")
        reader.sign_in("reader-en", PASSWORD)
        reader.open(f"{JOBS}add/")
        reader.type("name", "without scripts")
        reader.type("cron_expression", "61 * * * *")
        reader.type("handler_name", "sample")
        reader.type("handler_params", '{"sleep_seconds": "long"}')
        reader.press("[name=_continue]")
        assert reader.path.endswith("/add/"), "nothing is saved"
        reader.screenshot("job-refused")
        assert "61" in reader.text(".field-cron_expression")

        reader.type("cron_expression", "0 0 1 1 *")
        reader.type("handler_params", '{"message": "no scripts needed"}')
        reader.press("[name=_continue]")
        assert reader.path == f"{JOBS}{site.job('without scripts')}/change/"

        reader.follow("a[href$='/run/']")
        reader.press()
        reader.until(lambda: status_of(reader, site) == "SUCCESS", "SUCCESS")
        reader.open(reader.path)
        assert "no scripts needed" in reader.text("#log-lines")
        assert reader.find("#execution-data").is_displayed()
        reader.screenshot("execution")


@IN_ENGLISH
def test_empty_dates_show_no_warning_where_the_browser_is_in_another_zone(
    signed_in: Reader,
) -> None:
    zone = {"timezoneId": "America/New_York"}
    signed_in.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", zone)
    signed_in.open("/admin/freezes/add/")
    signed_in.find("input.vDateField")

    # Django's note about "server time". The help of each input names the zone that it is in.
    def notes() -> list[WebElement]:
        return signed_in.driver.find_elements(By.CSS_SELECTOR, ".timezonewarning")

    signed_in.until(lambda: len(notes()) == 4, "the notes")
    assert not any(note.is_displayed() for note in notes())
