"""Tests how script/test reports several runs of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import axe, chromium
from tests.harness.servers import ServerUnavailableError, install
from tests.plugin import DATABASE_KINDS
from tests.run import (
    NONE_COLLECTED,
    TESTS_FAILED,
    TRIED_AGAIN,
    Result,
    Wanted,
    find_complaints,
    may_be_the_load,
    run_all,
    table,
    wanted_runs,
)

ROOT = Path(__file__).resolve().parent.parent


def result(database: str = "sqlite", exit_code: int = 0, **counts: Any) -> Result:
    return Result(database=database, exit_code=exit_code, seconds=1.0, **counts)


def test_passed_runs_give_no_complaint():
    results = [result("sqlite", passed=5), result("postgres", passed=3)]

    assert find_complaints(results, require_services=True) == []


def test_a_failed_database_is_named():
    results = [result("sqlite", passed=5), result("mysql", exit_code=1, passed=2, failed=1)]

    assert find_complaints(results, require_services=False) == ["mysql: 1 failed"]


def test_crashed_pytest_is_a_failure_even_without_failed_tests():
    complaints = find_complaints([result(exit_code=3)], require_services=False)

    assert complaints == ["sqlite: pytest ended with 3"]


def test_skipped_tests_count_only_when_services_are_required():
    results = [result(passed=5, skipped=2)]

    assert find_complaints(results, require_services=False) == []
    [complaint] = find_complaints(results, require_services=True)
    assert "2 skipped" in complaint


def test_a_selection_may_be_empty_on_one_database_but_not_on_all():
    empty = result("postgres", exit_code=NONE_COLLECTED)

    assert find_complaints([result(passed=1), empty], require_services=False) == []
    assert find_complaints([empty, empty], require_services=False) == ["no test was run"]


def test_table_has_a_line_per_database():
    lines = table([result("sqlite", passed=12, failed=1, skipped=2), result("mysql")]).splitlines()

    assert lines[0].split() == ["database", "passed", "failed", "skipped", "unsteady", "seconds"]
    assert lines[1].split() == ["sqlite", "12", "1", "2", "0", "1.0"]
    assert lines[2].split() == ["mysql", "0", "0", "0", "0", "1.0"]


def test_table_adds_up_the_parts_of_a_database():
    parts = [result("sqlite 1", passed=12), result("sqlite 2", passed=3, skipped=1)]

    lines = table(parts).splitlines()

    assert [line.split()[:3] for line in lines[1:]] == [
        ["sqlite", "1", "12"],
        ["sqlite", "2", "3"],
        ["sqlite", "all", "15"],
    ]


def test_every_file_is_in_one_part_of_sqlite_and_those_with_the_mark_on_each_database():
    runs = wanted_runs([], quick=False, slow=False)
    files = {
        database: [file for run in runs if run.database == database for file in run.files or ()]
        for database in DATABASE_KINDS
    }

    everything = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(files["sqlite"]) == sorted(everything)
    assert sorted(files["postgres"]) == sorted(files["mysql"])
    assert "tests/scheduler/test_races.py" in files["postgres"]
    assert "tests/test_docs.py" not in files["postgres"]


def test_quick_run_is_sqlite_alone():
    assert {run.database for run in wanted_runs([], quick=True, slow=False)} == {"sqlite"}


UNSTEADY_TEST = """
from pathlib import Path

TRACE = Path(__file__).with_suffix(".ran")


def test_unsteady():
    seen = TRACE.exists()
    TRACE.touch()
    assert seen


def test_steady():
    pass


def test_perhaps_broken():
    assert {holds}
"""


@pytest.mark.processes
def test_failed_tests_run_once_more_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    wanted = []
    for label, holds in (("unsteady", True), ("broken", False)):
        module = tmp_path / f"test_{label}.py"
        module.write_text(UNSTEADY_TEST.replace("{holds}", str(holds)))
        files = (os.path.relpath(module, ROOT),)
        wanted.append(Wanted(label=label, database="sqlite", files=files))

    # Without the project's options and Django: pytest starts four times.
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p tests.plugin -p no:django\n")
    options = ["-c", str(tmp_path / "pytest.ini"), "-p", "no:randomly"]
    unsteady, broken = run_all(wanted, [str(tmp_path), *options])

    assert (unsteady.exit_code, broken.exit_code) == (0, TESTS_FAILED)
    assert (unsteady.passed, unsteady.failed, unsteady.unsteady) == (3, 0, 1)
    assert (broken.passed, broken.failed, broken.unsteady) == (1, 2, 0)
    assert capfd.readouterr().out.count("that failed, alone") == 2


def test_many_failed_tests_do_not_run_again():
    assert not may_be_the_load(result(exit_code=1, failed=TRIED_AGAIN + 1))
    assert may_be_the_load(result(exit_code=1, failed=TRIED_AGAIN))
    assert not may_be_the_load(result(exit_code=3))


@pytest.mark.processes
def test_counts_and_arguments_pass_through_a_real_run():
    this = f"{__file__}::{test_table_has_a_line_per_database.__name__}"
    done = run_script("--database", "sqlite", this)

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].split()[:4] == ["sqlite", "1", "0", "0"]


@pytest.mark.processes
def test_selection_that_matches_nothing_is_an_error():
    done = run_script("--database", "sqlite", "-k", "no_test_has_this_name", __file__)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "no test was run"


def test_installer_without_rights_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(axe, "is_installed", lambda: True)
    monkeypatch.setattr(install, "missing_packages", lambda: ["redis-server"])
    monkeypatch.setattr(install, "apt_command", lambda: None)

    assert not install.install_servers()
    assert "cannot install redis-server" in capsys.readouterr().err


def test_installer_says_why_it_cannot_fetch_axe_core(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(axe, "is_installed", lambda: False)
    monkeypatch.setattr(axe, "install", lambda: "the index does not answer")
    monkeypatch.setattr(install, "missing_packages", list)

    assert not install.install_servers()
    assert "cannot fetch axe-core: the index does not answer" in capsys.readouterr().err


def test_only_the_pinned_axe_core_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match="--install-servers"):
        axe.script()

    axe.kept_at().parent.mkdir(parents=True)
    axe.kept_at().write_text("axe = another", encoding="utf-8")

    with pytest.raises(ServerUnavailableError, match="--install-servers"):
        axe.script()
    assert not axe.is_installed()


def test_installer_installs_the_browser_where_there_is_none(monkeypatch: pytest.MonkeyPatch):
    def find_program(program: str) -> str | None:
        return None if program == "chromedriver" else f"/usr/bin/{program}"

    monkeypatch.setattr(chromium, "find_program", find_program)

    assert {"chromium", "chromium-driver", "fonts-nanum"} <= set(install.missing_packages())
    with pytest.raises(ServerUnavailableError, match="--install-servers"):
        chromium.programs()


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
