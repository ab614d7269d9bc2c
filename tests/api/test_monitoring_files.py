"""The dashboard, the alert rules and the page about metrics name only series that /metrics has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families

from scheduler.models import SchedulerProcess
from scheduler.states import ProcessKind
from scheduler.store import counters
from scheduler.store.connection import database_now
from scheduler.worker.figures import Tally
from tests.admin.test_admin import make_run
from tests.api.conftest import make_job, program
from tests.harness.system import ROOT

pytestmark = pytest.mark.django_db

DOCS = ROOT / "docs"
FUNCTIONS = {
    "abs", "absent", "bottomk", "histogram_quantile", "increase", "max", "rate", "sum", "time",
    "topk",
}  # fmt: skip


@pytest.fixture
def series(alice: User) -> dict[str, set[str]]:
    """The names of all series of a system in which everything happens, with their labels."""
    now = database_now()
    make_run(make_job(), now=now, attempt=1)
    pool = {"acquired": 1, "wait_seconds": 0.0, "timeouts": 0}
    SchedulerProcess.objects.create(
        name="w", kind=ProcessKind.WORKER, host="h", pid=1, started_at=now, heartbeat_at=now,
        figures={**Tally().figures(), "pools": {"default": pool}},
    )  # fmt: skip
    SchedulerProcess.objects.create(
        name="b", kind=ProcessKind.BEAT, host="h", pid=2, started_at=now, heartbeat_at=now
    )
    while counters.count(now + timedelta(seconds=2), lease_seconds=60):
        pass
    text = program(alice).get("/metrics").content.decode()
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def expressions(value: Any) -> Iterator[str]:
    """Each `expr` anywhere below `value`."""
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == "expr")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from expressions(each)


def check(expression: str, series: dict[str, set[str]]) -> None:
    names = set(re.findall(r"\bjobu_\w+", expression))
    assert names, expression
    assert names <= set(series), expression
    labels = set().union(*(series[name] for name in names))
    asked = re.findall(r"\bby \(([^)]*)\)", expression)
    by = {label.strip() for each in asked for label in each.split(",")}
    assert by | set(re.findall(r"(\w+)=~?\"", expression)) <= labels, expression
    assert set(re.findall(r"\b([a-z_]+)\(", expression)) <= FUNCTIONS, expression
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing), expression


def test_each_panel_of_the_dashboard_shows_series_that_exist(series: dict[str, set[str]]):
    dashboard = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]

    found = list(expressions(panels))
    assert len(found) > 20
    for expression in found:
        check(expression, series)
    for panel in panels:
        assert panel["title"], panel
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "s", "ops"), panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            names = re.findall(r"\bjobu_\w+", target["expr"])
            assert shown <= set().union(*(series[name] for name in names)), panel["title"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    squares = [
        (x, y)
        for each in dashboard["panels"]
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(squares) == len(set(squares))  # no panel lies on another one
    assert max(x for x, _ in squares) < 24


def test_each_variable_of_the_dashboard_exists():
    text = (DOCS / "grafana.json").read_text(encoding="utf-8")
    variables = {each["name"] for each in json.loads(text)["templating"]["list"]}

    assert set(re.findall(r"\$\{?(\w+)", text)) <= variables | {"__rate_interval", "__all"}


def test_each_alert_rule_asks_for_series_that_exist(series: dict[str, set[str]]):
    rules = yaml.safe_load((DOCS / "prometheus-rules.yml").read_text(encoding="utf-8"))

    (group,) = rules["groups"]
    assert set(rules) == {"groups"}
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) > 10
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        check(rule["expr"], series)
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
        names = re.findall(r"\bjobu_\w+", rule["expr"])
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert named <= set().union(*(series[name] for name in names)), rule["alert"]


def test_the_page_explains_each_series_and_no_other(series: dict[str, set[str]]):
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")

    named = set(re.findall(r"\bjobu_\w+", page))
    exported = {re.sub(r"_(bucket|sum|count)$", "", each) for each in series}
    assert named == exported
