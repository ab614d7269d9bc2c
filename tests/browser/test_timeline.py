"""The timeline in a browser: 500 jobs and 20,000 bars, the keyboard, and the table beside it."""

from __future__ import annotations

from typing import Final

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.browser.reader import PHONE, Reader
from tests.browser.site import Site

pytestmark = pytest.mark.processes

PAGE: Final = "/admin/timeline/?queue=crowd"
_COUNT: Final = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {last})"
# 500 jobs that do not run by themselves, with 40 runs each in the last 20 hours.
CROWD: Final = (
    f"""
INSERT INTO cron_jobs (name, cron_expression, handler_name, queue)
{_COUNT.format(last=499)}
SELECT printf('crowd %03d', n), '0 0 1 1 *', 'sample', 'crowd' FROM n
""",
    f"""
INSERT INTO job_executions (job_id, job_name, handler_name, queue, status, scheduled_time,
                            started_at, finished_at)
{_COUNT.format(last=39)},
at (id, name, n, second) AS (
SELECT j.id, j.name, n.n, n.n * 1800 + j.id % 300 FROM cron_jobs j, n WHERE j.queue = 'crowd'
)
SELECT id, name, 'sample', 'crowd',
       CASE (id + n) % 10 WHEN 0 THEN 'FAILED' WHEN 1 THEN 'TIMEOUT' WHEN 2 THEN 'CANCELLED'
                          ELSE 'SUCCESS' END,
       strftime('%Y-%m-%d %H:%M:%S', 'now', -second || ' seconds'),
       strftime('%Y-%m-%d %H:%M:%S', 'now', -second || ' seconds'),
       strftime('%Y-%m-%d %H:%M:%S', 'now', (id % 90 * 20 + 30 - second) || ' seconds')
  FROM at
""",
)
# Frames of the picture while it is scrolled through; the time of each one's own work.
DRAWN: Final = """
const [box, done] = [document.getElementById("tl"), arguments[0]];
const spent = [];
const step = (time) => {
  box.scrollTop += 400;
  requestAnimationFrame(() => {
    spent.push(performance.now() - time);
    if (spent.length < 20) requestAnimationFrame(step);
    else done(spent.sort((a, b) => a - b)[10]);
  });
};
requestAnimationFrame(step);
"""
IN_KOREAN = pytest.mark.parametrize("signed_in", ["ko"], indirect=True)


def drawn(reader: Reader) -> None:
    reader.until(
        lambda: reader.find("#tl").get_attribute("aria-busy") == "false", "the drawn timeline"
    )


def is_as_wide_as_its_box(reader: Reader) -> bool:
    box, picture = reader.script(
        "const box = document.getElementById('tl');"
        "return [box.clientWidth, box.querySelector('canvas').clientWidth]"
    )
    return bool(box == picture)


@IN_KOREAN
def test_twenty_thousand_bars_are_drawn_and_the_keyboard_opens_a_run(
    reader: Reader, site: Site
) -> None:
    for statement in CROWD:
        site.system.sql(statement)
    reader.open(PAGE)
    drawn(reader)
    assert "500" in reader.text(".tl p.dash-small")
    assert reader.text("#tl-notes") == ""
    for width, height in ((1440, 900), (1280, 800), PHONE):
        reader.resize(width, height)
        reader.until(lambda: is_as_wide_as_its_box(reader), "the resized picture")
        assert not reader.too_wide(), f"wider than {width}"
    reader.resize()
    reader.look("timeline-crowd")
    assert reader.driver.execute_async_script(DRAWN) < 200

    reader.script("document.getElementById('tl').focus()")
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT):
        ActionChains(reader.driver).send_keys(key).perform()
    link = reader.find("#tl-facts a[href*='jobexecution']").get_attribute("href")
    assert "crowd" in reader.text("#tl-facts")
    reader.look("timeline-chosen")
    with reader.turning():
        ActionChains(reader.driver).send_keys(Keys.ENTER).perform()
    assert reader.driver.current_url == link

    reader.open(f"{PAGE}&view=table")
    assert len(reader.all("#tl-table tbody tr")) == 200
    reader.look("timeline-table")
