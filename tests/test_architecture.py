"""The rules of the architecture: imports, statuses, writes to tables, the environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path

import pytest
from django.db.models import CheckConstraint, Model, Q

from scheduler.models import CronJob, JobAttempt, JobExecution
from scheduler.states import (
    TRANSITIONS,
    AttemptOutcome,
    MisfirePolicy,
    OverlapPolicy,
    ParamSource,
    ReasonCode,
    RunStatus,
)

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jobu_project", "scheduler", "handlers", "dbpools")
# The nodes that the rules ask about.
LOOKED_AT = (ast.Attribute, ast.Call, ast.Constant, ast.Import, ast.ImportFrom)


def sources(*packages: str) -> Iterator[tuple[str, tuple[ast.AST, ...]]]:
    """Yields (path from the root, all nodes) of every module except the migrations."""
    for package in packages:
        yield from _nodes_of(package)


@cache
def _nodes_of(package: str) -> tuple[tuple[str, tuple[ast.AST, ...]], ...]:
    """Read once: to parse the whole project takes seconds."""
    return tuple(
        (
            str(path.relative_to(ROOT)),
            tuple(
                node
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, LOOKED_AT)
            ),
        )
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
    )


@pytest.fixture(scope="module", autouse=True)
def _trees_are_forgotten() -> Iterator[None]:
    """They fill a hundred megabytes, which the tests after these do not need."""
    yield
    _nodes_of.cache_clear()


def test_only_states_contains_status_literals():
    names = {status.value for status in RunStatus}
    # Words of other tables: what run_handler says of an attempt, before any of it is a row.
    elsewhere = {"handlers/runner.py", "scheduler/states.py"}
    found = [
        f"{path}:{node.lineno}: {node.value}"
        for path, nodes in sources(*PACKAGES)
        if path not in elsewhere
        for node in nodes
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_no_code_calls_save_on_an_execution():
    """The save() of a stale object would overwrite what another process has written."""
    found = [
        f"{path}:{node.lineno}"
        for path, nodes in sources("scheduler")
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("save", "asave", "bulk_update", "update_or_create", "get_or_create")
        and not allowed_save(path, node)
    ]
    assert found == []


def allowed_save(path: str, call: ast.Call) -> bool:
    """Allows super().save() of forms and user accounts, and tables of which nobody holds an object.

    Alerts and kinds of failures are locked, filters belong to one user.
    """
    return path.startswith("scheduler/admin/") or any(
        path == f"scheduler/store/{name}.py" and model in ast.unparse(call)
        for name, model in (
            ("processes", "SchedulerProcess"),
            ("alerts", "Alert.objects"),
            ("failures", "FailureGroup.objects"),
            ("failures", "FailureDay.objects"),
            ("saved_filters", "SavedFilter.objects"),
        )
    )


def test_only_the_store_writes_our_tables():
    writers = {"update", "create", "bulk_create", "delete"}
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node.func)}"
        for path, nodes in sources("scheduler")
        if not path.startswith("scheduler/store/")
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in writers
        and ".objects" in ast.unparse(node.func)
    ]
    assert found == []


def test_the_constraints_of_the_database_allow_the_values_of_states():
    assert words(JobExecution, "status") == set(RunStatus)
    assert words(JobExecution, "param_source") == set(ParamSource)
    assert words(JobExecution, "reason_code") == set(ReasonCode)
    assert words(JobAttempt, "outcome") == set(AttemptOutcome)
    assert words(CronJob, "overlap_policy") == set(OverlapPolicy)
    assert words(CronJob, "misfire_policy") == set(MisfirePolicy)


def words(model: type[Model], field: str) -> set[str]:
    """Returns the values that the CHECK of the table allows for `field`."""
    for constraint in model._meta.constraints:
        if isinstance(constraint, CheckConstraint) and isinstance(constraint.condition, Q):
            for child in constraint.condition.children:
                if isinstance(child, tuple) and child[0] == f"{field}__in":
                    return set(child[1])
    raise AssertionError(f"{field} has no constraint")


def test_every_value_of_states_fits_into_its_column():
    rooms: list[tuple[type[Model], str, type[StrEnum]]] = [
        (JobExecution, "status", RunStatus),
        (JobExecution, "param_source", ParamSource),
        (JobExecution, "reason_code", ReasonCode),
        (CronJob, "last_status", RunStatus),
        (CronJob, "overlap_policy", OverlapPolicy),
        (CronJob, "misfire_policy", MisfirePolicy),
    ]
    for model, field, values in rooms:
        column = model._meta.get_field(field)
        room = getattr(column, "max_length", None)
        assert room is not None
        assert max(map(len, values)) <= room


def test_the_documented_diagram_is_the_table_of_transitions():
    """The Mermaid lines are `FROM --> TO: words`; [*] means "no row yet"."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn: dict[RunStatus | None, set[RunStatus]] = {}
    for before, after in re.findall(r"^ *(\S+) --> (\w+)", page, re.MULTILINE):
        drawn.setdefault(None if before == "[*]" else RunStatus(before), set()).add(
            RunStatus(after)
        )
    assert drawn == {status: set(to) for status, to in TRANSITIONS.items() if to}


def test_only_the_configuration_reads_the_environment():
    allowed = {
        "jobu_project/config.py",
        "jobu_project/__main__.py",  # DJANGO_SETTINGS_MODULE
        "jobu_project/celery.py",  # DJANGO_SETTINGS_MODULE
        "jobu_project/asgi.py",
        "jobu_project/wsgi.py",
        "jobu_project/tracing.py",  # the protocol of OTLP, a variable of OpenTelemetry
        "jobu_project/launcher/supervisor.py",  # hands it on to the parts
        "jobu_project/launcher/launch.py",
        "handlers/child_processes.py",  # hands it on to the processes of a run
        "handlers/command/handler.py",  # a few variables, for the program
        "scheduler/management/output.py",  # NO_COLOR, which is about the terminal
        "scheduler/service_manager.py",  # NOTIFY_SOCKET, which systemd sets
    }
    found = {
        path
        for path, nodes in sources(*PACKAGES)
        for node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and path not in allowed
    }
    assert found == set()


def test_no_file_is_longer_than_four_hundred_lines():
    found = {
        path for package in (*PACKAGES, "bench") for path, lines in lengths(package) if lines > 400
    }
    assert found == set()


def lengths(package: str) -> Iterator[tuple[str, int]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "migrations" not in path.parts:
            text = path.read_text(encoding="utf-8")
            yield str(path.relative_to(ROOT)), len(text.splitlines())


def test_scheduler_has_only_modules_of_plain_values_beside_its_folders():
    beside = {path.stem for path in (ROOT / "scheduler").glob("*.py")}
    folders = [path for path in (ROOT / "scheduler").iterdir() if (path / "__init__.py").exists()]

    assert beside == {
        "__init__", "alert_rules", "alert_settings", "alert_states", "apps", "checks", "clock",
        "concurrency",
        "conf", "events", "failpoints", "failure_kinds", "labels", "limits", "look",
        "network_addresses",
        "project_checks",
        "service_manager", "setting_types", "states", "tasks", "transient", "urls",
        "wakeup_messages", "wakeups",
    }  # fmt: skip
    assert len(folders) <= 14


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions and for type checkers count, too."""
    modules = {name_of(path): nodes for path, nodes in sources(*PACKAGES, "bench", "tests")}
    imports = {
        name: {each for each in imported_by(nodes, modules) if each in modules and each != name}
        for name, nodes in modules.items()
    }
    # Take away whoever imports nothing that is left; what remains imports itself by some way.
    left = dict(imports)
    while ends := [name for name, found in left.items() if not found & left.keys()]:
        for name in ends:
            del left[name]
    # And whoever nobody imports that is left.
    while starts := left.keys() - {each for found in left.values() for each in found}:
        for name in starts:
            del left[name]

    assert sorted(left) == []


def name_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_by(nodes: Iterable[ast.AST], modules: Container[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
