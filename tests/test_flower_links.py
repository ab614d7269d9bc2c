"""The way from Flower's page of a task to the page of its execution, in the real Flower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import pytest
from celery import Celery
from flower.app import Flower
from flower.urls import settings
from flower.views.tasks import TaskView
from tornado.testing import AsyncHTTPTestCase

from jobu_project import flower_links
from scheduler.clock import host_timestamp

BASE = "https://jobu.example.com/admin"
ADDRESS = BASE + "/scheduler/jobexecution/{}/change/"
SCRIPT = "<script>alert(1)</script>"


@contextmanager
def page_of_task(link_base: str, **event: Any) -> Iterator[str]:
    """Flower's page of a task of which it knows this event."""
    render = TaskView.render_string
    flower_links.install(link_base)

    class Pages(AsyncHTTPTestCase):  # pytest calls none of it
        def get_app(self) -> Flower:
            flower = Flower(capp=Celery(broker="memory://", set_as_current=False), **settings)
            now = host_timestamp()
            known = {"uuid": "u1", "hostname": "w@h", "clock": 1, "timestamp": now,
                     "local_received": now, "utcoffset": 0, "pid": 1}  # fmt: skip
            flower.events.state.event({"type": "task-received", "name": "mail", **known, **event})
            return flower

    case = Pages("id")
    case.setUp()
    try:
        answer = case.fetch("/task/u1")
        assert answer.code == 200
        yield answer.body.decode()
    finally:
        case.tearDown()
        TaskView.render_string = render


def links(page: str) -> list[str]:
    return re.findall(r'<a href="(https://[^"]*jobexecution[^"]*)">\1</a>', page)


@pytest.mark.parametrize("place", ["args", "kwargs"])
def test_the_address_of_a_run_is_a_link_on_the_page_of_its_task(place: str) -> None:
    with page_of_task(BASE, **{place: f"('nightly', '{ADDRESS.format(17)}')"}) as page:
        assert links(page) == [ADDRESS.format(17)]
        assert page.count(ADDRESS.format(17)) == 2  # once as the address, once as the text


def test_nothing_else_becomes_a_link_and_what_events_say_stays_escaped() -> None:
    others = (
        ADDRESS.format(1).replace("example", "evil"),
        BASE + "/scheduler/jobexecution/x/change/",
        BASE + "/scheduler/jobexecution/" + "9" * 20 + "/change/",
        BASE + "/auth/user/1/change/",
        BASE.replace(".", "x") + "/scheduler/jobexecution/1/change/",
        f'{ADDRESS.format(2)[:-1]}"onclick="x',
    )
    with page_of_task(BASE, args=f"{SCRIPT} {' '.join(others)}") as page:
        assert links(page) == []
        assert SCRIPT not in page
        assert escape(SCRIPT) in page
    text = f'{ADDRESS.format(3)}"onclick="alert(1) {ADDRESS.format(4)}{SCRIPT}'
    with page_of_task(BASE, args=text) as page:
        assert links(page) == [ADDRESS.format(3), ADDRESS.format(4)]
        assert 'onclick="alert' not in page
        assert SCRIPT not in page


def test_without_a_known_address_of_the_pages_flower_is_as_it_was() -> None:
    render = TaskView.render_string
    with page_of_task("", args=ADDRESS.format(17)) as page:
        assert TaskView.render_string is render
        assert links(page) == []
        assert ADDRESS.format(17) in page
