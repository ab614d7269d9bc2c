"""Kubernetes, Airflow, APScheduler, RedBeat and the beat_schedule: each entry, and the slots."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule

from scheduler.models import CronJob
from scheduler.moving import reading
from scheduler.moving.beside import compare_entries
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.mapping import Mapped
from scheduler.moving.sources import redbeat
from scheduler.operations.imports import ImportControl
from tests.harness.servers import Redis
from tests.moving.conftest import NOW, mapped, options, reasons

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def module() -> Iterator[Any]:
    """A module of the project, `legacy`, which a test fills."""
    made = sys.modules["legacy"] = ModuleType("legacy")
    yield made
    del sys.modules["legacy"]


def found_in(source: str, control: ImportControl, **given: Any) -> dict[str, Mapped]:
    kind, entries = reading.read(source, options(**given))
    return mapped(control, entries, kind)


def causes(
    found: dict[str, Mapped], control: ImportControl, days: int = 400
) -> dict[str, set[str]]:
    """The causes of each entry that was compared and differs."""
    compared = compare_entries(found.values(), control, now=NOW, days=days)
    return {each.mapped.entry.name: set(each.causes) for each in compared if each.causes}


# --- Kubernetes -----------------------------------------------------------------------------------

POD = """
      {job}
      template:
        spec:
          containers:
          - name: main
            image: app:1
            {container}
"""


RUNS_TRUE = "command: [/usr/bin/true]"
SEOUL = "timeZone: Asia/Seoul"


def cron_job(name: str, *spec: str, job: str = "", container: str = RUNS_TRUE) -> str:
    head = f"apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n"
    lines = "".join(f"  {line}\n" for line in spec)
    return head + lines + "  jobTemplate:\n    spec:" + POD.format(job=job, container=container)


CRON_JOBS = [
    cron_job("utc", "schedule: '*/15 * * * *'", "timeZone: Etc/UTC"),
    cron_job("forbid", "schedule: '0 3 * * *'", SEOUL, "concurrencyPolicy: Forbid",
             "startingDeadlineSeconds: 300", "suspend: true",
             job="backoffLimit: 2\n      activeDeadlineSeconds: 600"),
    cron_job("replace", "schedule: '@daily'", SEOUL, "concurrencyPolicy: Replace",
             container="command: [/bin/sh, -c]\n            args: ['echo $A']\n"
             "            env: [{name: A, value: '1'}, {name: B, valueFrom: {}}]"),
    cron_job("or", "schedule: '0 0 */2 * 1'", SEOUL),
    cron_job("gap", "schedule: '30 2 * * *'", "timeZone: America/New_York"),
    cron_job("zone", "schedule: '0 0 * * *'"),
    cron_job("seven", "schedule: '0 0 * * 7'", SEOUL),
    cron_job("unknown", "schedule: '0 0 * * *'", "timezone: Asia/Seoul"),
    cron_job("image", "schedule: '0 0 * * *'", SEOUL, container="args: [x]"),
    cron_job("every", "schedule: '@every 1h30m'", SEOUL),
    cron_job("since", "schedule: '@every 1h30m'", SEOUL).replace(
        "{name: since}", "{name: since, creationTimestamp: '2026-09-01T00:00:07Z'}"
    ),
]  # fmt: skip


def test_cronjobs_of_kubernetes(control: ImportControl, tmp_path: Path):
    path = tmp_path / "jobs.yaml"
    service = "kind: Service\nmetadata: {name: web}\n"
    path.write_text("---\n".join([service, *CRON_JOBS]), encoding="utf-8")

    found = found_in(f"kubernetes:{path}", control)

    said = {name: (str(each.verdict), reasons(each)) for name, each in found.items()}
    assert said == {
        "utc": ("differs", {"container"}),
        "forbid": ("differs", {"container", "off"}),
        "replace": ("differs", {"container"}),
        "or": ("differs", {"container"}),
        "gap": ("differs", {"container", "clock_change"}),
        "zone": ("differs", {"container", "zone"}),
        "seven": ("impossible", {"expression"}),
        "unknown": ("impossible", {"unknown_key"}),
        "image": ("impossible", {"container", "command"}),
        "every": ("differs", {"container", "phase"}),
        "since": ("differs", {"container", "counts"}),
    }
    assert found["since"].values["cron_expression"] == "every 90m from 2026-09-01T00:00:07Z"
    forbid = found["forbid"].values
    assert (forbid["overlap_policy"], forbid["max_retry"], forbid["timeout_seconds"]) == (
        "skip", 2, 600
    )  # fmt: skip
    assert (forbid["misfire_policy"], forbid["misfire_grace_seconds"]) == ("skip", 300)
    assert found["replace"].values["handler_params"] == {
        "argv": ["/bin/sh", "-c", "echo $A"], "env": {"A": "1"}
    }  # fmt: skip
    assert "env B" in found["replace"].findings[0].facts["what"]
    # robfig/cron: `*/2` is no star, so one of the two day fields is enough there.
    assert found["or"].values["cron_expression"] == "0 0 1-31/2 * 1"
    line = path.read_text().splitlines().index("metadata: {name: unknown}")
    assert found["unknown"].entry.where == f"line {line - 1}"
    assert causes(found, control) == {"gap": {"clock_change"}}


def test_what_cannot_be_read_to_its_end_is_an_entry_with_its_line(
    control: ImportControl, tmp_path: Path
):
    path = tmp_path / "jobs.yaml"
    twice = "kind: CronJob\nmetadata: {name: a}\nmetadata: {name: b}\n"
    items = "".join(f"- {'  '.join(CRON_JOBS[n].splitlines(keepends=True))}" for n in (0, 1))
    path.write_text("---\n".join([twice, f"kind: List\nitems:\n{items}", "a: [1,\n"]))

    found = found_in(f"kubernetes:{path}", control)

    assert set(found) >= {"utc", "forbid", "line 3"}
    broken = [each for each in found.values() if reasons(each) == {"unreadable"}]
    assert [each.entry.where for each in broken] == ["line 3", broken[-1].entry.where]
    assert len(broken) == 2


def test_after_a_broken_document_the_next_ones_are_read(control: ImportControl, tmp_path: Path):
    path = tmp_path / "jobs.yaml"
    helm = cron_job("helm", "schedule: {{ .Values.schedule }}")
    ranged = "{{- range .Values.jobs }}\n" + cron_job("{{ .name }}", "schedule: '0 1 * * *'")
    quoted = cron_job("'{{ .Release.Name }}-x'", "schedule: '0 1 * * *'")
    left = cron_job("left", "schedule: '{{ .Values.schedule }}'")
    broken = "kind: CronJob\nmetadata: {name: [}\n"
    documents = [helm, CRON_JOBS[0], ranged, broken, quoted, left, CRON_JOBS[1], "a: [1,\n"]
    text = "---\n".join(documents)
    path.write_text(text, encoding="utf-8")

    found = found_in(f"kubernetes:{path}", control)

    said = {name: (str(each.verdict), reasons(each)) for name, each in found.items()}
    starts = [text[: text.index(each)].count("\n") + 1 for each in documents]
    assert {said.pop(name)[0] for name in ("utc", "forbid")} == {"differs"}
    assert {verdict for verdict, _reasons in said.values()} == {"impossible"}
    assert said.pop("{{ .Release.Name }}-x")[1] == said.pop("left")[1] == {"template"}
    lines = {int(name.removeprefix("line ")): of for name, (_verdict, of) in said.items()}
    assert lines == {
        starts[0]: {"template"},
        starts[2]: {"template"},
        starts[3] + 1: {"unreadable"},
        max(lines): {"unreadable"},
    }
    assert max(lines) >= starts[-1]


def test_a_bad_item_of_a_list_hides_no_other(control: ImportControl, tmp_path: Path):
    path = tmp_path / "jobs.yaml"
    bad = cron_job("bad", "schedule: {{ .Values.schedule }}")
    twice = "kind: CronJob\nmetadata: {name: a}\nmetadata: {name: b}\n"
    items = [CRON_JOBS[0], bad, twice, CRON_JOBS[1]]
    listed = "".join(f"- {'  '.join(each.splitlines(keepends=True))}" for each in items)
    path.write_text(f"kind: List\nitems:\n{listed}---\nkind: List\nitems:\n")

    found = found_in(f"kubernetes:{path}", control)

    assert {"utc", "forbid"} <= found.keys()
    others = [each for name, each in found.items() if name not in ("utc", "forbid")]
    assert sorted(sorted(reasons(each)) for each in others) == [["template"], ["unreadable"]]


def test_a_zone_in_front_of_the_fields(control: ImportControl, tmp_path: Path):
    path = tmp_path / "jobs.yaml"
    specs = {
        "old": ["schedule: 'TZ=Asia/Seoul 0 3 * * *'"],
        "older": ["schedule: 'CRON_TZ=Asia/Seoul 0 3 * * *'"],
        "both": ["schedule: 'TZ=Asia/Seoul 0 3 * * *'", "timeZone: Etc/UTC"],
        "mars": ["schedule: 'TZ=Mars/Base 0 3 * * *'"],
    }
    path.write_text("---\n".join(cron_job(name, *spec) for name, spec in specs.items()))

    found = found_in(f"kubernetes:{path}", control)

    for name in ("old", "older"):
        values = found[name].values
        assert (values["cron_expression"], values["timezone"]) == ("0 3 * * *", "Asia/Seoul")
        assert reasons(found[name]) == {"container"}
    assert {reason for name in ("both", "mars") for reason in reasons(found[name])} == {
        "unreadable"
    }


def test_cronjobs_as_the_api_answers_them_and_as_json(control: ImportControl, tmp_path: Path):
    yaml = importlib.import_module("yaml")
    items = [yaml.safe_load(text) for text in CRON_JOBS[:3]]
    for item in items:
        del item["kind"], item["apiVersion"]
    whole = {"kind": "CronJobList", "apiVersion": "batch/v1", "items": items}
    (tmp_path / "tabs.json").write_text(json.dumps(whole, indent="\t"))
    (tmp_path / "a.yaml").write_text("\ufeff" + yaml.safe_dump(whole))
    (tmp_path / "none.yaml").write_text("kind: List\nitems: []\n---\n---\n# nothing\n")
    (tmp_path / "control.yaml").write_text(f"{CRON_JOBS[0]}---\na: \x07\n")

    for name in ("tabs.json", "a.yaml"):
        found = found_in(f"kubernetes:{tmp_path / name}", control)
        assert set(found) == {"utc", "forbid", "replace"}
        assert {str(each.verdict) for each in found.values()} == {"differs"}
    assert found_in(f"kubernetes:{tmp_path / 'none.yaml'}", control) == {}
    (odd,) = found_in(f"kubernetes:{tmp_path / 'control.yaml'}", control).values()
    assert (str(odd.verdict), reasons(odd)) == ("impossible", {"unreadable"})


def test_kubernetes_fills_in_variables_without_a_shell(control: ImportControl, tmp_path: Path):
    path = tmp_path / "jobs.yaml"
    container = (
        "command: [/usr/bin/true, $(B), '$$(A)', $(C)]\n            args: [--x=$(A)-$(A)]\n"
        "            env: [{name: A, value: '1'}, {name: B, value: b$(A)$(C)}, {name: E}]"
    )
    path.write_text(cron_job("a", "schedule: '@daily'", SEOUL, container=container))

    (found,) = found_in(f"kubernetes:{path}", control).values()

    assert found.values["handler_params"] == {
        "argv": ["/usr/bin/true", "b1$(C)", "$(A)", "$(C)", "--x=1-1"],
        "env": {"A": "1", "B": "b1$(C)"},
    }


# --- Airflow --------------------------------------------------------------------------------------


def test_airflow_schedules_run_at_the_end_of_their_interval(control: ImportControl, tmp_path: Path):
    path = tmp_path / "dags.json"
    rows: list[dict[str, Any]] = [
        {"dag_id": "daily", "schedule": "@daily", "timezone": "Asia/Seoul", "max_active_runs": 1},
        {"dag_id": "or", "schedule": "0 0 1-31 * 1", "timezone": "UTC", "max_active_runs": 1,
         "catchup": False, "start_date": "2026-12-01T00:00:00"},
        {"dag_id": "delta", "schedule": "1 day, 12:00:00"},
        {"dag_id": "asset", "schedule": "Dataset"},
        {"dag_id": "dst", "schedule": "30 1 * * *", "timezone": "America/New_York",
         "max_active_runs": 1},
        {"dag_id": "typo", "shedule": "@daily"},
        {"dag_id": "nobody", "schedule": "@daily", "max_active_runs": 1},
        {"timezone": "UTC"},
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    handlers = {row["dag_id"]: "celery:shop.plain" for row in rows[:-2]}

    found = found_in(f"airflow:{path}", control, handlers=handlers)

    said = {name: (str(each.verdict), reasons(each)) for name, each in found.items()}
    handler = {"refused"}  # no task of that name in this process
    assert said["delta"] == ("impossible", {"phase", "instances", "interval_end"} | handler)
    assert said["asset"] == ("impossible", {"rule", "instances"})
    assert said["nobody"] == ("impossible", {"no_handler", "zone", "interval_end"})
    assert said["entry 8"] == ("impossible", {"unreadable"})
    assert said["typo"] == ("impossible", {"unknown_key"})
    assert said["daily"] == ("impossible", {"interval_end"} | handler)
    assert found["or"].values["cron_expression"] == "0 0 * * 1"
    assert found["or"].values["misfire_policy"] == "latest"
    # The run for 1 December starts when that day is over.
    assert found["or"].values["start_at"].isoformat() == "2026-12-01T00:00:01+00:00"
    assert causes({name: found[name] for name in ("daily", "or")}, control) == {}
    assert causes({"dst": found["dst"]}, control) == {"dst": {"clock_change"}}


def test_a_list_of_dags_may_be_csv_or_yaml(control: ImportControl, tmp_path: Path, tasks: Any):
    (tmp_path / "d.csv").write_text("dag_id,schedule,timezone\nshop.plain,0 3 * * *,Asia/Seoul\n")
    (tmp_path / "d.yaml").write_text("- {dag_id: a, schedule: '0 3 * * *', timezone: Asia/Seoul}\n")

    for name, dag in (("d.csv", "shop.plain"), ("d.yaml", "a")):
        handlers = {dag: "celery:shop.plain"}
        found = found_in(f"airflow:{tmp_path / name}", control, handlers=handlers)
        assert found[dag].values["cron_expression"] == "0 3 * * *"
        assert str(found[dag].verdict) == "differs"  # 16 runs at a time there


# --- APScheduler ----------------------------------------------------------------------------------


def nightly(shop: int, day: str = "") -> None: ...


def unknown() -> None: ...


def anything(*numbers: int) -> None: ...


def test_apscheduler_weekdays_shift_and_its_own_triggers_agree(
    control: ImportControl, module: Any, tasks: Any
):
    from apscheduler.schedulers.background import BackgroundScheduler
    from celery import current_app

    scheduler = module.scheduler = BackgroundScheduler(timezone="America/New_York")
    add = scheduler.add_job
    delay = current_app.tasks["shop.report"].delay
    at_nine = {"hour": 9, "max_instances": 1, "args": [7]}
    add(delay, "cron", id="weekdays", day_of_week="0-4", **at_nine)
    add(delay, "cron", id="sunday", day_of_week=6, **at_nine)
    add(delay, "cron", id="names", day_of_week="mon,sat", **at_nine)
    add(delay, "cron", id="first monday", day="1st mon", **at_nine)
    add(delay, "cron", id="last day", day="last", **at_nine)
    add(delay, "cron", id="and", day="13", day_of_week="fri", **at_nine)
    add(delay, "cron", id="gap", hour=2, minute=30, args=[7])
    add(delay, "cron", id="week", week="*/2", **at_nine)
    add(delay, "interval", id="interval", minutes=10, args=[7])
    add(delay, "date", id="date", run_date=datetime(2030, 1, 1), args=[7])  # noqa: DTZ001
    add(nightly, "cron", id="function", hour=1, args=[7], misfire_grace_time=None, coalesce=False)
    add(unknown, "cron", id="no handler", hour=1)
    add(anything, "cron", id="no names", hour=1, args=[7, 8])
    add(delay, "cron", id="twice at once", hour=1, args=[7], max_instances=3, jitter=30)
    functions = (f"{__name__}:{name}" for name in ("nightly", "anything"))
    handlers = dict.fromkeys(functions, "celery:shop.report")

    found = found_in("apscheduler:legacy:scheduler", control, handlers=handlers)
    # A handler for one of the two jobs of this function only.
    without = found_in("apscheduler:legacy:scheduler", control)

    expressions = {
        name: each.values["cron_expression"]
        for name, each in found.items()
        if "cron_expression" in each.values
    }
    assert expressions["weekdays"] == "0 9 * * 1-5"
    assert expressions["sunday"] == "0 9 * * 0"
    assert expressions["names"] == "0 9 * * 1,6"
    assert expressions["first monday"] == "0 9 * * 1#1"
    assert expressions["last day"] == "0 9 L * *"
    assert {name: str(each.verdict) for name, each in found.items()} == {
        "weekdays": "same", "sunday": "same", "names": "same", "first monday": "same",
        "last day": "same", "and": "same", "gap": "differs", "week": "impossible",
        "interval": "differs", "date": "same", "function": "differs",
        "no handler": "impossible", "no names": "impossible", "twice at once": "differs",
    }  # fmt: skip
    assert reasons(without["function"]) == {"no_handler"}
    assert reasons(found["no names"]) == {"arguments"}
    assert reasons(found["week"]) == {"week_or_year"}
    assert found["function"].values["misfire_policy"] == "all"
    assert found["weekdays"].values["overlap_policy"] == "skip"
    assert found["twice at once"].values["jitter_seconds"] == 30
    assert found["function"].values["handler_params"] == {"shop": 7}
    assert causes(found, control) == {
        "gap": {"clock_change"},
        "interval": {"phase"},
        "function": {"clock_change"},  # 01:00 comes twice there, and once here
        "no handler": {"clock_change"},
        "no names": {"clock_change"},
        "twice at once": {"clock_change"},
    }


def test_a_job_with_unshifted_weekdays_is_found_by_the_comparison(
    control: ImportControl, module: Any, tasks: Any
):
    from apscheduler.schedulers.background import BackgroundScheduler
    from celery import current_app

    scheduler = module.scheduler = BackgroundScheduler(timezone="Asia/Seoul")
    report = current_app.tasks["shop.plain"].delay
    scheduler.add_job(report, "cron", id="weekly", day_of_week="0-4", hour=9)
    found = found_in("apscheduler:legacy:scheduler", control)
    job = control.import_job(found["weekly"].source, **found["weekly"].values)
    assert causes(found, control) == {}

    control.update_job(job.pk, cron_expression="0 9 * * 0-4")

    assert causes(found, control) == {"weekly": {"weekday_number"}}


# --- Celery's own ---------------------------------------------------------------------------------


def beat_schedule() -> dict[str, Any]:
    return {
        "kwargs": {"task": "shop.report", "schedule": crontab(minute="0", hour="*/4"),
                   "kwargs": {"shop": 1}},
        "delta": {"task": "shop.plain", "schedule": timedelta(hours=2)},
        "seconds": {"task": "shop.plain", "schedule": 30.0},
        "and": {"task": "shop.plain", "schedule": crontab("0", "0", "fri", "13")},
        "retries": {"task": "shop.retries", "schedule": crontab("0", "0"), "args": (5,)},
        "typo": {"task": "shop.plain", "shedule": 3},
        "options": {"task": "shop.plain", "schedule": crontab("5", "0"),
                    "options": {"priority": 7, "queue": "fast", "expires": 30}},
    }  # fmt: skip


def test_the_beat_schedule_of_an_app(control: ImportControl, module: Any, tasks: Any):
    app = module.app = Celery("legacy", broker="amqp://", set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    app.conf.beat_schedule = beat_schedule()

    found = found_in("celery:legacy:app", control)

    said = {name: (str(each.verdict), reasons(each)) for name, each in found.items()}
    assert said == {
        "kwargs": ("same", set()),
        "delta": ("differs", {"phase"}),
        "seconds": ("impossible", {"phase", "refused"}),
        "and": ("same", set()),
        "retries": ("differs", {"task_retries"}),
        "typo": ("impossible", {"unknown_key"}),
        "options": ("differs", {"expires"}),
    }
    assert found["options"].values["priority"] == 7  # RabbitMQ counts as jobu does
    assert found["retries"].values["handler_params"] == {"order": 5}
    # Nobody knows when the distances have begun: both sides count from now.
    assert causes(found, control) == {}


def test_redbeat_entries_are_read_without_redbeat(
    control: ImportControl, redis_server: Redis, tasks: Any
):
    from redbeat import RedBeatSchedulerEntry
    from redbeat.schedules import rrule

    url = redis_server.create_database()
    app = Celery("legacy", set_as_current=False)
    app.conf.redbeat_redis_url = url
    entries: list[tuple[str, Any, dict[str, Any]]] = [
        ("nightly", crontab("0", "3"), {"args": [7]}),
        (
            "hourly",
            schedule(timedelta(hours=1)),
            {"kwargs": {"shop": 7}, "last_run_at": NOW - timedelta(minutes=20)},
        ),
        ("off", crontab("0", "4"), {"args": [7], "enabled": False}),
        ("rule", rrule("DAILY", interval=3, dtstart=NOW), {"args": [7]}),
        ("once", rrule("DAILY", count=1, dtstart=NOW), {"args": [7]}),
    ]
    for name, when, values in entries:
        RedBeatSchedulerEntry(name, "shop.report", when, app=app, **values).save()

    found = found_in(f"redbeat:{url}", control, timezone="Asia/Seoul")

    said = {name: (str(each.verdict), reasons(each)) for name, each in found.items()}
    assert said == {
        "nightly": ("same", set()),
        "hourly": ("same", {"counts"}),
        "off": ("same", {"off"}),
        "rule": ("same", set()),
        "once": ("impossible", {"passed"}),
    }
    assert found["nightly"].values["handler_params"] == {"shop": 7}
    assert CronJob.objects.count() == 0


def test_the_key_of_a_redis_names_its_port_and_number_and_no_password():
    labels = {
        "redis://host": "host/0", "redis://:secret@host:6379/0": "host/0",
        "redis://host:6380/2": "host,6380/2", "redis://host?db=3": "host/3",
        "unix://:secret@/run/redis.sock?db=1": "/run/redis.sock",
    }  # fmt: skip
    assert {url: redbeat.label_of(url) for url in labels} == labels
    with pytest.raises(UnreadableSource) as refused:
        reading.read("redbeat:redis://:pa/ss@host/0", options())
    assert "pa" not in str(refused.value)


def test_entries_that_are_added_when_the_app_is_ready_are_read(module: Any, control: ImportControl):
    app = module.app = Celery("legacy", set_as_current=False)

    def add(sender: Celery, **_: Any) -> None:
        sender.add_periodic_task(3600.0, app.tasks["celery.backend_cleanup"].s(), name="late")

    app.on_after_finalize.connect(add)
    app.conf.beat_schedule = {"list": {"task": "x", "schedule": 60, "options": ["no mapping"]}}

    found = found_in("celery:legacy:app", control)

    assert set(found) == {"list", "late"}
    assert reasons(found["list"]) == {"unreadable"}


def test_a_cronjob_without_a_mapping_as_metadata_does_not_stop_the_others(
    control: ImportControl, tmp_path: Path
):
    path = tmp_path / "jobs.yaml"
    path.write_text("---\n".join(["kind: CronJob\nmetadata: [x]\n", CRON_JOBS[0]]))

    found = found_in(f"kubernetes:{path}", control)

    assert {name: str(each.verdict) for name, each in found.items()} == {
        "line 1": "impossible", "utc": "differs"
    }  # fmt: skip
