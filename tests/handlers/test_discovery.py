"""Every module is imported; one that fails is reported and does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import discover, get_registered_handlers

HANDLER = (
    "from handlers import BaseHandler, handler\n"
    "@handler('{name}')\n"
    "class Found(BaseHandler):\n"
    "    async def execute(self, params): return None\n"
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "shopjobs"
    root.mkdir()
    (root / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [n for n in sys.modules if n.split(".")[0] == "shopjobs"]:
        del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_modules_at_any_depth_are_found(shop):
    write(shop / "top.py", HANDLER.format(name="top"))
    write(shop / "a" / "__init__.py", "")
    write(shop / "a" / "b" / "__init__.py", HANDLER.format(name="deep"))

    report = discover(["shopjobs"])

    assert report.failures == ()
    assert report.modules == ("shopjobs", "shopjobs.a", "shopjobs.a.b", "shopjobs.top")
    assert {"top", "deep"} <= set(get_registered_handlers())


def test_folder_without_init_is_found_and_one_without_python_is_not(shop):
    write(shop / "bare" / "inner.py", HANDLER.format(name="inner"))
    write(shop / "sql" / "queries.sql", "select 1;")

    report = discover(["shopjobs"])

    assert report.modules == ("shopjobs", "shopjobs.bare", "shopjobs.bare.inner")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("def broken(:\n", "SyntaxError: "),
        ("raise ValueError('s' * 5)", "ValueError: sssss"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_module_that_fails_is_reported_and_the_others_are_imported(shop, text, reason):
    write(shop / "bad.py", text)
    write(shop / "good.py", HANDLER.format(name="good"))

    report = discover(["shopjobs"])

    assert [name for name, _ in report.failures] == ["shopjobs.bad"]
    assert report.failures[0][1].startswith(reason)
    assert "shopjobs.good" in report.modules
    assert "good" in get_registered_handlers()


def test_handler_of_a_module_that_failed_later_is_not_registered(shop):
    write(shop / "half.py", HANDLER.format(name="half") + "1 / 0\n")

    discover(["shopjobs"])

    assert "half" not in get_registered_handlers()


def test_duplicate_is_reported_with_both_places_and_the_first_stays(shop):
    write(shop / "one.py", HANDLER.format(name="same"))
    write(shop / "two.py", HANDLER.format(name="same"))

    report = discover(["shopjobs"])

    (module, reason), *_ = report.failures
    assert module == "shopjobs.two"
    assert "shopjobs.one.Found" in reason
    assert "shopjobs.two.Found" in reason
    assert get_registered_handlers()["same"].__module__ == "shopjobs.one"


def test_missing_package_is_reported_and_the_others_are_imported(shop):
    report = discover(["nowhere_jobs", "shopjobs"])

    assert [name for name, _ in report.failures] == ["nowhere_jobs"]
    assert report.modules == ("shopjobs",)


def test_main_modules_are_not_imported(shop):
    write(shop / "__main__.py", "raise SystemExit(1)")

    assert discover(["shopjobs"]).failures == ()


def test_discovering_twice_gives_the_same_report(shop):
    write(shop / "top.py", HANDLER.format(name="top"))

    assert discover(["shopjobs", "shopjobs"]) == discover(["shopjobs"])


def test_samples_are_found():
    report = discover(["handlers.samples"])

    assert report.failures == ()
    assert "handlers.samples.sample.handler" in report.modules
