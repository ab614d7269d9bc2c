"""The arithmetic of the benches, and the pages made from their figures. Nothing here measures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.__main__ import BENCHES, MODULES
from bench.asking import asking
from bench.crowd import multiply, text_with_number
from bench.everything import Step, run_steps, with_limits
from bench.peers import Peer
from bench.report import STORED, documents, pictures, read, scaling
from bench.rows import Goal, Row, percentile
from bench.statement_log import count_statements

PEER = "Celery"


def row(**changes: Any) -> Row:
    values: dict[str, Any] = {
        "row": "no-op",
        "database": "postgres",
        "unit": "runs a second",
        "ours": 900.0,
    }
    return Row(**values | changes)


@pytest.mark.parametrize(
    ("goal", "ours", "ratio", "is_met"),
    [
        (Goal(at_most=10), 10.0, None, True),
        (Goal(at_most=10), 10.1, None, False),
        (Goal(at_least=2000), 1999.0, None, False),
        (Goal(times_the_peer=3), 900.0, 3.0, True),
        (Goal(times_the_peer=3), 900.0, None, None),
        (Goal(at_most=10), None, None, False),
        (Goal(at_least=2000, times_the_peer=10, one_is_enough=True), 500.0, 10.0, True),
        (Goal(at_least=2000, times_the_peer=10, one_is_enough=True), 2000.0, None, True),
        (Goal(at_least=2000, times_the_peer=10, one_is_enough=True), 500.0, None, None),
        (Goal(at_least=2000, times_the_peer=10), 500.0, None, False),
    ],
)
def test_a_goal_is_met_missed_or_unknown(goal, ours, ratio, is_met):
    assert goal.is_met(ours, ratio) is is_met


def test_the_ratio_says_how_many_times_better_we_are():
    assert row(peer=300.0).ratio == 3.0
    assert row(ours=2.0, peer=8.0, less_is_better=True).ratio == 4.0
    assert row(peer=300.0, ratio_of_rounds=2.5).ratio == 2.5


def test_a_peer_that_is_not_installed_leaves_its_cell_empty():
    peer = Peer(name=PEER, app="x", task="y", package="no_such_package")

    line = row(peer_name=peer.label, goal=Goal(times_the_peer=3)).as_mapping()

    assert (line["peer"], line["ratio"], line["met"]) == (None, None, None)
    assert line["peer_name"] == "Celery: peer not installed"


def test_percentiles_are_values_that_were_measured():
    values = [float(value) for value in range(1, 101)]

    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_steps_get_the_time_that_is_left_and_the_last_ones_none():
    now = 0.0
    given: list[tuple[str, float]] = []

    def run(options, seconds):
        nonlocal now
        given.append((options, seconds))
        now += seconds
        yield {"row": options}

    steps = (Step("a", 100), Step("b --seconds {left}", 500), Step("c", 10))
    lines = list(run_steps(steps, 300, lambda: now, run))

    assert given == [("a", 100), ("b --seconds 180", 200)]
    assert lines[-1] == {"left_out": "c", "why": "no time left"}


def test_rates_get_the_limit_of_their_own_database():
    limit = "limit: claim and finish in groups of 50"
    lines = [
        row(row=limit, ours=6000.0).as_mapping(),
        row(row=limit, ours=3000.0, database="mysql").as_mapping(),
        row().as_mapping(),
        row(database="mysql").as_mapping(),
        row(unit="ms").as_mapping(),
    ]

    assert [line["limit"] for line in with_limits(lines)] == [None, None, 6000.0, 3000.0, None]


def test_statements_are_counted_by_verb_and_table_also_over_several_lines():
    log = """\
2026-11-28 12:00:00 UTC [1] LOG:  statement: BEGIN
2026-11-28 12:00:00 UTC [1] LOG:  execute <unnamed>:
\tSELECT id
\t  FROM job_executions
\t WHERE id = $1
2026-11-28 12:00:00 UTC [1] DETAIL:  parameters: $1 = '1'
2026-11-28 12:00:00 UTC [1] LOG:  statement: UPDATE "job_executions" SET status = 'X FROM y'
2026-11-28 12:00:00 UTC [1] LOG:  statement: COMMIT
2026-11-28 12:00:00 UTC [2] LOG:  checkpoint starting: time"""

    assert count_statements(log.splitlines()) == {
        "BEGIN": 1,
        "SELECT job_executions": 1,
        "UPDATE job_executions": 1,
        "COMMIT": 1,
    }


def test_a_row_is_multiplied_with_all_its_columns(tmp_path: Path):
    with asking(f"sqlite:///{tmp_path}/bench.sqlite3") as ask:
        for table in ("cron_jobs", "job_executions"):
            ask.rows(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT, kind TEXT)")
        ask.rows("INSERT INTO cron_jobs (name, kind) VALUES ('job 0', 'rare')")

        multiply(ask, "cron_jobs", 1, 1500, {"name": text_with_number(ask, "job ")})

        assert ask.one("SELECT count(DISTINCT name) FROM cron_jobs WHERE kind = 'rare'") == 1501
        assert ask.one("SELECT count(*) FROM cron_jobs WHERE name = 'job 1500'") == 1
        with pytest.raises(ValueError, match="no column nothing"):
            multiply(ask, "cron_jobs", 1, 1, {"nothing": "1"})


def test_every_bench_that_is_named_exists():
    missing = [
        name
        for name in BENCHES
        if importlib.util.find_spec(f"bench.{MODULES.get(name, name)}") is None
    ]

    assert missing == []


def test_pages_and_pictures_are_those_of_the_stored_results():
    """`python -m bench report` writes them."""
    made = documents(read(STORED))

    assert {path.name: path.read_text("utf-8") for path in made} == {
        path.name: text for path, text in made.items()
    }


def test_pictures_are_small_and_well_formed():
    for name, text in pictures.of(read(STORED)).items():
        assert len(text) < 60_000, name
        ElementTree.fromstring(text)


def test_scaling_multiplies_what_was_measured():
    lines = [
        row(row="costs: WAL, one at a time", unit="bytes a run", ours=3000.0).as_mapping(),
        row(row="limit: claim and finish in groups of 50", ours=7000.0).as_mapping(),
    ]

    page = scaling.of(lines)

    # 100 million a day are 1,157 a second, three times as many in the worst hour.
    assert "3.5 MB/s, 300 GB a day" in page
    assert "| 3,470 runs a second | 7,000 | 50 % |" in page
    assert "Not measured." in page  # the statements


def test_scaling_names_what_saturates_first():
    lines = [
        row(row=f"limit: claim and finish in groups of {group}", ours=rate).as_mapping()
        for group, rate in ((1, 500.0), (50, 6000.0))
    ]

    assert "The first to saturate: **claim and finish in groups of 1," in scaling.of(lines)
