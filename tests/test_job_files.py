"""`manage.py jobs export | plan | apply`: jobs in a file, with the mistakes that files have."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scheduler.management import job_files
from scheduler.models import Activity, AppliedJob, CronJob
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control, InvalidJob
from scheduler.operations.definition import values_of
from scheduler.operations.job_files import Document, JobFiles, document_of
from scheduler.states import Door
from tests.harness.scheduler_harness import SchedulerHarness
from tests.harness.system import ROOT
from tests.test_commands import Done, own_registry, run, world

__all__ = ["own_registry", "world"]  # fixtures

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

BOB = Actor(name="bob", door=Door.ADMIN)
FILE = """\
jobs:
  nightly:
    cron: 0 3 * * *
    timezone: Asia/Seoul
    handler: ok
    params: {shop: 7, country: NO}
    tags: [reports]
  hourly:
    cron: 15 * * * *
    handler: ok
    enabled: false
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    def write_file(text: str) -> Path:
        path = tmp_path / "jobs.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file  # type: ignore[return-value]


def jobs(verb: str, *arguments: object, code: int = 0) -> Done:
    done = run("jobs", verb, *arguments, "--as", "ci")
    assert done.code == code, done.out + done.err
    return done


def state() -> list[Any]:
    """Everything that an apply may write."""
    rows = CronJob.objects.order_by("name")
    return [
        [(values_of(job), job.tick_seq, job.updated_at, job.source) for job in rows],
        list(AppliedJob.objects.order_by("job_id").values()),
        Activity.objects.count(),
    ]


def test_apply_makes_the_jobs_of_the_file_and_a_second_one_changes_nothing(world, write):
    path = write(FILE)

    plan = jobs("plan", path, "--detailed-exitcode", code=2)

    assert CronJob.objects.count() == 0
    assert "+ nightly" in plan.out
    assert "7 added (" in plan.out
    assert "Plan: 2 to create, 0 to change, 0 to disable, 0 as they are." in plan.out

    assert "Done: 2 created" in jobs("apply", path).out

    nightly, hourly = CronJob.objects.get(name="nightly"), CronJob.objects.get(name="hourly")
    assert nightly.handler_params == {"shop": 7, "country": "NO"}  # no boolean of YAML 1.1
    assert (nightly.is_enabled, nightly.tags, nightly.source) == (
        True, ["reports"], "file:jobs.yaml",
    )  # fmt: skip
    assert nightly.next_run_at is not None
    assert not hourly.is_enabled
    entry = Activity.objects.get(target_id=nightly.pk)
    assert (entry.actor, entry.door, entry.verb) == ("ci", "command", "created")

    before = state()
    assert "2 as they were" in jobs("apply", path).out
    jobs("plan", path, "--detailed-exitcode")
    assert state() == before


def test_plan_shows_fields_and_slots_and_apply_fires_nothing(world, write):
    jobs("apply", write(FILE))
    text = FILE.replace("0 3 * * *", "30 4 * * *").replace("shop: 7", "shop: 8")

    plan = jobs("plan", write(text), "--json").json
    people = jobs("plan", write(text)).out

    (change,) = [each for each in plan["jobs"] if each["step"] == "change"]
    assert change["name"] == "nightly"
    assert change["changes"] == [
        {"field": "cron expression", "old": "0 3 * * *", "new": "30 4 * * *"},
        {"field": "parameters: shop", "old": "7", "new": "8"},
    ]
    found = change["slots"]
    # Between the two times of a day its old slot is over, and its new one is an additional one.
    assert (len(found["moved"]), len(found["added"])) in ((7, 0), (6, 1))
    for old, new in found["moved"]:
        passed = datetime.fromisoformat(new) - datetime.fromisoformat(old)
        assert passed.total_seconds() == 90 * 60
    assert len(found["lost"]) == len(found["added"])
    assert "    cron expression: 0 3 * * * -> 30 4 * * *" in people
    assert f"{len(found['moved'])} moved (" in people

    jobs("apply", write(text))

    job = CronJob.objects.get(name="nightly")
    assert job.cron_expression == "30 4 * * *"
    assert job.next_run_at
    assert job.next_run_at > job.updated_at
    assert Activity.objects.filter(target_id=job.pk).latest("id").verb == "changed"


def test_job_that_is_gone_is_disabled_by_prune_alone_and_never_deleted(world, write):
    jobs("apply", write(FILE))
    rest = FILE[: FILE.index("  hourly:")].replace("nightly", "new")

    kept = jobs("apply", write(rest))
    assert "'nightly' is not in the file any more" in kept.err
    assert CronJob.objects.get(name="nightly").is_enabled

    plan = jobs("plan", write(rest), "--prune").out
    assert "- nightly\n    slots of the next 7 days: 7 lost (" in plan
    assert CronJob.objects.get(name="nightly").is_enabled

    jobs("apply", write(rest), "--prune")
    assert not CronJob.objects.get(name="nightly").is_enabled
    before = state()
    jobs("apply", write(rest), "--prune")
    assert state() == before


def test_file_without_enabled_leaves_the_switch_to_people(world, write):
    jobs("apply", write(FILE))
    job = CronJob.objects.get(name="nightly")
    Control(actor=BOB).pause(job.pk, reason="an incident")

    assert "2 as they were" in jobs("apply", write(FILE)).out
    assert CronJob.objects.get(pk=job.pk).pause_reason == "an incident"

    on = FILE.replace("    tags: [reports]", "    enabled: true")
    jobs("apply", write(on))
    job.refresh_from_db()
    assert job.is_enabled
    assert job.next_run_at
    assert job.next_run_at > job.updated_at


def test_plan_shows_who_has_edited_what_the_file_keeps(world, write):
    jobs("apply", write(FILE))
    job = CronJob.objects.get(name="nightly")
    Control(actor=BOB).update_job(job.pk, cron_expression="0 5 * * *", owner="bob")

    plan = jobs("plan", write(FILE))
    (drift,) = [each["drift"] for each in jobs("plan", write(FILE), "--json").json["jobs"]
                if each["drift"]]  # fmt: skip

    assert "edited by bob at " in plan.out
    assert "      cron expression: 0 3 * * * -> 0 5 * * *" in plan.out
    assert "    cron expression: 0 5 * * * -> 0 3 * * *" in plan.out
    assert drift["edited_by"] == "bob"
    assert [change["field"] for change in drift["changes"]] == ["cron expression", "owner"]

    jobs("apply", write(FILE))
    job.refresh_from_db()
    assert (job.cron_expression, job.owner) == ("0 3 * * *", "")

    CronJob.objects.filter(pk=job.pk).update(owner="by SQL")
    assert "the history does not say by whom" in jobs("plan", write(FILE)).out


def test_job_that_was_renamed_here_is_renamed_back_and_not_made_twice(world, write):
    jobs("apply", write(FILE))
    job = CronJob.objects.get(name="nightly")
    Control(actor=BOB).update_job(job.pk, name="renamed")

    assert "    name: renamed -> nightly" in jobs("plan", write(FILE)).out
    jobs("apply", write(FILE))

    assert CronJob.objects.count() == 2
    assert CronJob.objects.get(pk=job.pk).name == "nightly"


def test_secret_is_masked_everywhere_and_stays_what_it_was(world, write):
    secret = "hunter2-s3cr3t"
    Control(actor=BOB).create_job(
        name="mail", cron_expression="0 3 * * *", handler_name="ok",
        handler_params={"password": secret, "to": "a"},
    )  # fmt: skip
    exported = jobs("export").out

    assert secret not in exported
    assert "password: '********'" in exported

    text = exported.replace("to: a", "to: b")
    plan = jobs("plan", write(text))
    jobs("apply", write(text))

    assert secret not in plan.out
    assert CronJob.objects.get().handler_params == {"password": secret, "to": "b"}

    done = jobs("plan", write(text.replace("mail:", "other:")), code=1)
    assert "line 2, other, params" not in done.err
    assert "other, params: a masked value stands where no secret is stored: password" in done.err


def test_addresses_of_check_ins_are_masked_in_a_file_and_stay_what_they_were(world, write):
    rules = {"check_ins": [{"kind": "healthchecks", "url": "https://hc-ping.com/0d2b8a14"}]}
    job = world.job(name="nightly", alert_rules=rules)
    exported = run("jobs", "export").out

    assert "0d2b8a14" not in exported
    assert "as they are" in jobs("plan", write(exported)).out
    jobs("apply", write(exported.replace("nightly:", "nightly:\n    description: d")))
    job.refresh_from_db()
    assert (job.alert_rules, job.description) == (rules, "d")
    refused = jobs("apply", write(exported.replace("nightly", "another")), code=1)
    assert "alert_rules" in refused.err
    assert CronJob.objects.count() == 1


def test_job_of_another_file_is_left_alone_until_it_is_taken_over(world, write):
    jobs("apply", write(FILE))

    done = jobs("apply", write(FILE), "--source", "other", code=1)
    assert "line 2, nightly: is kept in file:jobs.yaml" in done.err

    jobs("apply", write(FILE), "--source", "other", "--take-over")
    assert set(AppliedJob.objects.values_list("source", flat=True)) == {"file:other"}
    jobs("apply", write("jobs:"), "--prune")  # it keeps none any more
    assert CronJob.objects.get(name="nightly").is_enabled


def test_the_file_of_the_page_works(world, write):
    page = (ROOT / "docs" / "jobs-in-git.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    jobs("apply", write(text))

    assert jobs("export").out == text  # so it is in the form that `export` writes
    moved = write(text.replace("0 3 * * *", "30 4 * * *"))
    assert "    cron expression: 0 3 * * * -> 30 4 * * *" in jobs("plan", moved).out


BAD = """\
jobs:
  nightly:
    cron: 0 3 * * *
    handler: ok
    timezon: Asia/Seoul
  broken:
    cron: 61 * * * *
    handler: okk
    max_retry: many
  7:
    cron: 0 3 * * *
    handler: ok
  nightly:
    cron: 0 4 * * *
    handler: ok
    params: {a: 1, a: 2}
  both:
    cron: 0 3 * * *
    cron_expression: 0 3 * * *
    handler: ok
  bare:
  late:
    cron: 0 3 * * *
    handler: ok
    start_at: tomorrow
jobz: {}
"""


@once
def test_all_mistakes_are_named_at_once_with_their_lines(world, write):
    done = jobs("apply", write(BAD), code=1)

    for line in (
        "- line 7, broken, cron: ",
        "- line 8, broken, handler: Handler not found: okk (did you mean 'ok'?)",
        "- line 9, broken, max_retry: must be a whole number",
        "- line 10, 7: a name must be text",
        "- line 13, nightly: is there twice: also in line 2",
        "- line 16, nightly, params.a: is there twice: also in line 16",
        "- line 19, both, cron_expression: says the same as cron",
        "- line 21, bare: must be a mapping",
        "- line 25, late, start_at: must be an instant",
        "- line 26, jobz: is no field, did you mean jobs?",
    ):
        assert line in done.err
    assert CronJob.objects.count() == 0

    one = BAD[: BAD.index("  broken")]
    assert (
        "- line 5, nightly, timezon: is no field, did you mean timezone?"
        in jobs("plan", write(one), code=1).err
    )
    fields = json.loads(run("jobs", "plan", write(one), "--json").out)["error"]["fields"]
    assert list(fields) == ["nightly.timezon"]


@once
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("jobs: [", "line 1, column 8"),
        ("- a list", "must hold “jobs:”"),
        ("jobs: {a: !!python/object/apply:os.system [ls]}", "no YAML"),
        ("jobs: {a: {cron: 0 3 * * *, handler: ok, params: [1]}}", "must be a JSON object"),
        ("jobs: {a: {cron: 5, handler: ok}}", "must be text"),
        ("jobs: {a: {handler: ok}}", "a, cron: is missing"),
        ("jobs: {a: {cron: 0 3 * * *, handler: ok, paused_until: x}}", "is no field"),
        ("jobs: {' a': {cron: 0 3 * * *, handler: ok}}", "must not begin or end with a blank"),
        ("? {a: b}\n: 1", "no YAML"),
    ],
)
def test_file_that_is_no_file_of_jobs_is_refused(world, write, text, problem):
    assert problem in jobs("apply", write(text), code=1).err
    assert CronJob.objects.count() == 0


@once
def test_file_is_read_from_standard_input_and_as_json(world, tmp_path, monkeypatch):
    assert "give --source" in jobs("plan", "-", code=1).err
    assert "cannot be read" in jobs("plan", tmp_path / "none.yaml", code=1).err

    path = tmp_path / "jobs.json"
    path.write_text('{"jobs": {"a": {"cron": "0 3 * * *", "cron": "1 * * * *", "handler": "ok"}}}')
    assert "cron: is there twice" in jobs("apply", path, code=1).err
    path.write_text('{"jobs": {"a": {"cron": "0 3 * * *", "handler": "ok"}}}')

    # As where PyYAML is not installed.
    monkeypatch.setitem(sys.modules, "yaml", None)
    job_files._yaml.cache_clear()
    try:
        jobs("apply", path)
        assert json.loads(jobs("export", "--json").out) == json.loads(path.read_text())
        assert "PyYAML is not installed" in jobs("export", code=1).err
    finally:
        job_files._yaml.cache_clear()


def test_refused_write_takes_the_whole_apply_back(world, write):
    """The new job comes first in the file. The second one cannot have its old name again."""
    jobs("apply", write(FILE))
    hourly = CronJob.objects.get(name="hourly")
    Control(actor=BOB).update_job(hourly.pk, name="renamed")
    before = state()
    text = FILE.replace("  nightly:", "  new: {cron: 0 1 * * *, handler: ok}\n  nightly:")
    planner = JobFiles(actor=BOB, source="file:jobs.yaml")
    document = job_files.read(str(write(text)))

    class Late(JobFiles):
        """Somebody takes the name after the plan was made."""

        def _do(self, planned: Any, known: Any) -> None:
            super()._do(planned, known)
            if planned.name == "new":
                Control(actor=BOB).create_job(
                    name="hourly", cron_expression="0 1 * * *", handler_name="ok"
                )

    with pytest.raises(InvalidJob, match="is taken by another job"):
        Late(actor=BOB, source="file:jobs.yaml").apply(document)

    assert state() == before
    assert not planner.apply(document).mistakes


# --- export and back -----------------------------------------------------------------------------

TEXTS = (
    "", "no", "on", "~", "null", "08", "1e3", "1_000", "12:30", "2026-01-31", "0x1f", "=", "<<",
    "- a", "a: b", "# c", " lead", "trail ", "two\nlines", "tab\there", "end\n", "'quoted'", '"',
    "{x}", "[y]", "&a", "*b", "!c", "%d", "@e", "`f", "한국어", "\u2028", "\U0001f600", "x" * 300,
)  # fmt: skip


def random_value(random: Random, depth: int = 0) -> Any:
    kind = random.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [random_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 7:
        return {random.choice(TEXTS): random_value(random, depth + 1) for _ in range(3)}
    numbers = [0, -7, 10**15, 0.5, -1e-9, 1e20, 1.0]
    return random.choice([random.choice(TEXTS), random.choice(numbers), True, False, None])


def random_job(random: Random, number: int) -> dict[str, Any]:
    def maybe(**values: Any) -> dict[str, Any]:
        return values if random.random() < 0.4 else {}

    label = random.choice(["", "no", "한", "1", "a: b", "#"])
    return {
        "name": f"{label}-{number}",
        "cron_expression": random.choice(["0 3 * * *", "@daily", "*/7 8-10 1,15 * mon#2"]),
        "handler_name": "ok",
        "is_enabled": random.random() < 0.7,
        "handler_params": {
            f"p{n} {random.choice(TEXTS)}": random_value(random) for n in range(random.randrange(4))
        },
        **maybe(description=random.choice([text for text in TEXTS if "\u2028" not in text])),
        **maybe(timezone=random.choice(["Europe/Berlin", "America/St_Johns"])),
        **maybe(start_at=datetime(2026, 1, 2, 3, 4, 5, random.randrange(10**6), tzinfo=UTC)),
        **maybe(end_at=datetime(2099, 1, 1, tzinfo=UTC)),
        **maybe(tags=["no", "1", "b c"], owner="on"),
        **maybe(max_retry=random.randrange(11), priority=random.randrange(10)),
        **maybe(overlap_policy="queue_one", misfire_policy="all", queue="q.1"),
        **maybe(jitter_seconds=5, timeout_seconds=random.randrange(1, 86401)),
    }


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=once), pytest.param(2, marks=once)])
def test_exported_jobs_applied_again_change_nothing(world: SchedulerHarness, write, seed):
    random = Random(seed)
    control = Control(actor=BOB)
    made = [control.create_job(**random_job(random, number)) for number in range(12)]
    control.pause(made[0].pk, reason="for a time")

    exported = jobs("export").out
    as_json = jobs("export", "--json").json
    path = write(exported)
    before = state()[0]

    assert job_files.read(str(path)).value == as_json
    assert jobs("plan", path, "--json").json["same"] == 12
    jobs("apply", path)
    after = state()[0]
    assert [row[:3] for row in after] == [row[:3] for row in before]
    jobs("plan", path, "--detailed-exitcode")
    assert jobs("export").out == exported

    # The same file makes the same jobs elsewhere.
    for job in made:
        control.delete_job(job.pk)
    files = JobFiles(actor=BOB, source="file:copy")
    assert not files.apply(Document(value=as_json)).mistakes
    assert document_of(CronJob.objects.all()) == as_json


def test_export_takes_what_a_tag_or_a_text_finds(world):
    control = Control(actor=BOB)
    for name, tags in (("a", ["x"]), ("b", []), ("c", ["x", "y"])):
        control.create_job(name=name, cron_expression="0 3 * * *", handler_name="ok", tags=tags)

    assert list(jobs("export", "--tag", "x", "--json").json["jobs"]) == ["a", "c"]
    assert list(jobs("export", "--search", "b", "--json").json["jobs"]) == ["b"]
