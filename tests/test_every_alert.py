"""Each kind of alert from a real cause: three real beats, real workers, a real mail server and a
real HTTP receiver.

What a test cannot wait for or break is as small as it can be: the processes are those of
tests/alerts/short_bounds.py; rows are typed with times in the past (work that waits, a switch that
nobody has ended, an old execution); the clock of the database is a function of ours, as only
PostgreSQL allows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from scheduler.alert_states import AlertKind
from tests.conftest import SystemFactory
from tests.harness.process_helpers import HANDLERS, insert_job, insert_run
from tests.harness.receivers import Receiver, http_server, smtp_server
from tests.harness.servers import Postgres, Redis
from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database("postgres")]

Kind = AlertKind
BEATS = 3
OPENED, CLOSED = "opened", "closed"
#: The rules of a job that is to raise one kind of alert only.
QUIET = {
    "failed": False, "missed": False, "switched_off": False, "not_started_seconds": False,
    "recovered": True,
}  # fmt: skip
#: Nothing is due during the test.
NEVER = "0 0 1 1 *"
#: What no row can say is told by each beat that sees it.
TIMES = {Kind.DATABASE: BEATS}


@dataclass
class House:
    """The processes, and who is told."""

    jobu: System
    hook: Receiver
    letters: list[Message]
    disk: Path
    gate: Path

    def told(self) -> Counter[tuple[str, str]]:
        """What the receiver got. What comes at once may come as one digest."""
        bodies = [each.json for each in self.hook.requests]
        alerts = [alert for body in bodies for alert in body.get("alerts", [body])]
        return Counter(
            (alert["event"], alert["kind"])
            for alert in alerts
            # On a busy machine work of other queues may wait a moment longer than is allowed here.
            if alert["kind"] != Kind.CLAIMING_STANDS or alert["queue"] == "frozen"
        )

    def wait_until_told(self, event: str, *kinds: AlertKind) -> None:
        """Until the receiver has it. The letters are counted at the end."""
        self.jobu.wait_until(
            lambda: all(self.told()[event, kind] >= TIMES.get(kind, 1) for kind in kinds),
            40,
            f"{event}: {', '.join(kinds)}",
        )

    def job(self, name: str, handler: str = "misbehaves", **columns: Any) -> int:
        rules = json.dumps({**QUIET, **columns.pop("rules", {})})
        values = {"cron_expression": NEVER, "timezone": "UTC", **columns}
        insert_job(self.jobu, name, handler_name=handler, alert_rules=rules, **values)
        return int(self.jobu.sql("SELECT id FROM cron_jobs WHERE name = %s", name)[0]["id"])

    def run(self, job_id: int, name: str, how: str) -> None:
        """A run of the job: one that fails, or one that succeeds."""
        handler, params = ("sample", {"message": "well"}) if how == "well" else ("misbehaves", {})
        params = params or {"how": how}
        insert_run(
            self.jobu, handler, params=json.dumps(params), max_retry=0, job_id=job_id,
            job_name=name, scheduled_time=ago(0),
        )  # fmt: skip


def ago(seconds: float) -> str:
    at = datetime.now(UTC) - timedelta(seconds=seconds)  # noqa: TID251 - of real processes
    return at.strftime("%Y-%m-%d %H:%M:%S.%f+00")


@pytest.fixture
def house(system: SystemFactory, redis_server: Redis, tmp_path: Path) -> Iterator[House]:
    disk, gate = tmp_path / "disk", tmp_path / "gate"
    with smtp_server() as (post, port), http_server() as hook:
        allowed = {"allow_http": True, "allow_private": True}
        channels = {
            "hook": {"kind": "webhook", "url": hook.url, "secret": "s" * 20, **allowed},
            "mail": {"kind": "mail", "to": ["team@example.com"], "from": "jobu@example.com"},
        }
        made = system(
            broker_url=redis_server.create_database(),
            config={
                "scheduler": {
                    "poll_interval_seconds": 0.5,
                    "min_cron_interval_seconds": 1,
                    "mail_url": f"smtp://127.0.0.1:{port}",
                    "alerts": {"channels": channels, "default_channels": ["hook", "mail"]},
                },
                "worker": {
                    "handler_packages": [
                        "ledger_handlers", "misbehaving_handlers", "handlers.samples"
                    ],
                    "heartbeat_seconds": 1,
                },
            },
            handler_paths=(HANDLERS,),
            environment={"JOBU_TEST_DISK": str(disk)},
        )  # fmt: skip
        made.migrate()
        made.program = ("-m", "tests.alerts.short_bounds")
        yield House(jobu=made, hook=hook, letters=post.letters, disk=disk, gate=gate)
    redis_server.heal()


def test_each_kind_of_alert_is_told_once_on_both_channels_and_its_end_once(
    house: House, redis_server: Redis, job_server: Postgres
):
    jobu = house.jobu
    let_the_clock_be_moved(jobu)
    beats = [jobu.start_beat() for _ in range(BEATS)]
    jobu.start_worker(pool="threads", concurrency=10)
    frozen = jobu.start_worker(pool="threads", queues=["frozen"])
    wait_until_all_are_there(jobu)

    # What nobody tells at once is told in the meantime.
    redis_server.kill()
    frozen.stop()
    waits_for_nobody = house.job("waits", queue="nobody", rules={"not_started_seconds": 60})
    insert_run(
        jobu, "sample", queue="nobody", job_id=waits_for_nobody, job_name="waits",
        param_source="cron", scheduled_time=ago(120), available_at=ago(120),
        params=json.dumps({"message": "at last"}),
    )  # fmt: skip
    insert_run(
        jobu, "sample", queue="frozen", available_at=ago(120), params=json.dumps({"message": "hi"})
    )
    fails = house.job("fails", rules={"failed": True})
    house.run(fails, "fails", "Exception")
    fails_again = house.job("fails again", rules={"failed_in_a_row": 2})
    for _ in range(2):
        house.run(fails_again, "fails again", "Exception")
    slow = house.job(
        "slow", handler="waits_for_file", cron_expression="* * * * * *", overlap_policy="skip",
        handler_params=json.dumps({"path": str(house.gate)}),
        rules={"longer_than_seconds": 1, "skipped": ["overlap_running"]},
    )  # fmt: skip
    typo = house.job("typo", cron_expression="every now and then", rules={"switched_off": True})
    missed = house.job(
        "missed", misfire_policy="skip", rules={"missed": True},
        next_run_at=f"{datetime.now(UTC).year}-01-01 00:00:00+00",  # noqa: TID251
    )  # fmt: skip
    switched = house.job("switched", is_enabled=False)
    jobu.sql(
        "INSERT INTO jobu_job_switches (job_id, direction, state, old_side, source, since, at)"
        " VALUES (%s, 'here', 'off_there', 'written', 'shop', %s, %s)",
        switched, ago(400), ago(400),
    )  # fmt: skip
    asks = house.job("asks", approval_seconds=600, rules={"approval": True})
    insert_run(
        jobu, "sample", job_id=asks, job_name="asks", reason_code="awaits_approval",
        available_at="9900-01-01 00:00:00+00",
    )  # fmt: skip
    jobu.sql(
        "INSERT INTO jobu_run_approvals (execution_id, state, starts_at, expires_at)"
        " SELECT id, 'waiting', %s, %s FROM job_executions WHERE job_id = %s",
        ago(0), ago(-600), asks,
    )  # fmt: skip
    house.disk.write_text(f"{100 * 2**30} {2**30}", encoding="utf-8")
    # Beats have deleted what is old when they began, and do it again in a minute.
    insert_run(jobu, "sample", status="SUCCESS", finished_at=ago(86_400 * 400))

    # What the next causes would disturb ends as soon as it is told.
    house.wait_until_told(OPENED, Kind.CLAIMING_STANDS)
    frozen.cont()
    house.wait_until_told(OPENED, Kind.PUBLISHING_STANDS)
    redis_server.heal()
    house.wait_until_told(OPENED, Kind.SKIPPED, Kind.TOO_LONG)
    jobu.sql("UPDATE cron_jobs SET is_enabled = false WHERE id = %s", slow)
    move_the_clock(jobu, -6)
    house.wait_until_told(OPENED, *set(Kind) - {Kind.NO_BEAT, Kind.DATABASE})

    move_the_clock(jobu, 0)
    house.gate.touch()
    house.run(fails, "fails", "well")
    house.run(fails_again, "fails again", "well")
    house.run(missed, "missed", "well")
    jobu.sql(
        "UPDATE cron_jobs SET cron_expression = %s, is_enabled = true WHERE id = %s", NEVER, typo
    )
    jobu.sql("UPDATE jobu_job_switches SET state = 'done'")
    jobu.sql(
        "UPDATE job_executions SET status = 'CANCELLED', finished_at = now(), reason_code = NULL"
        " WHERE job_id = %s", asks,
    )  # fmt: skip
    house.disk.write_text(f"{100 * 2**30} {50 * 2**30}", encoding="utf-8")
    jobu.start_worker(pool="threads", queues=["nobody"])
    last = {Kind.NO_BEAT, Kind.DATABASE, Kind.RETENTION_BEHIND}
    house.wait_until_told(CLOSED, *set(Kind) - last)

    job_server.kill()
    house.wait_until_told(OPENED, Kind.DATABASE)
    job_server.start()
    house.wait_until_told(CLOSED, Kind.DATABASE)

    for beat in beats:
        beat.terminate()
    house.wait_until_told(OPENED, Kind.NO_BEAT)
    jobu.start_beat()
    house.wait_until_told(CLOSED, *last)

    expected = Counter({(e, k): TIMES.get(k, 1) for e in (OPENED, CLOSED) for k in Kind})
    told = house.told()
    # The clock's way back is a jump, too. It is told anew if the first alert has ended by then.
    assert 1 <= told[OPENED, Kind.CLOCK] == told[CLOSED, Kind.CLOCK] <= 2
    assert {each: times for each, times in told.items() if each[1] != Kind.CLOCK} == {
        each: times for each, times in expected.items() if each[1] != Kind.CLOCK
    }

    def each_has_its_letter() -> bool:
        subjects = Counter(each.json["subject"] for each in house.hook.requests)
        return subjects_of(house.letters) == subjects

    jobu.wait_until(each_has_its_letter, 40, "a letter for each message of the receiver")


def subjects_of(letters: list[Message]) -> Counter[str]:
    return Counter(" ".join(str(letter["Subject"]).split()) for letter in letters)


def let_the_clock_be_moved(jobu: System) -> None:
    jobu.sql("CREATE SCHEMA shifted")
    jobu.sql("CREATE TABLE shifted.by (seconds integer)")
    jobu.sql("INSERT INTO shifted.by VALUES (0)")
    jobu.sql(
        "CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        " 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM shifted.by'"
    )
    (name,) = jobu.sql("SELECT current_database() AS name")
    jobu.sql(f'ALTER DATABASE "{name["name"]}" SET search_path = shifted, pg_catalog, public')


def move_the_clock(jobu: System, seconds: int) -> None:
    jobu.sql("UPDATE shifted.by SET seconds = %s", seconds)


def wait_until_all_are_there(jobu: System) -> None:
    """Until the workers have said their queues, and each beat has looked for the first time."""

    def are_there() -> bool:
        kinds = Counter(row["kind"] for row in jobu.sql("SELECT kind FROM scheduler_process"))
        cursors = jobu.sql("SELECT name FROM jobu_alert_cursor")
        return kinds == {"beat": BEATS, "worker": 2} and len(cursors) >= 2

    jobu.wait_until(are_there, 60, "all processes")
