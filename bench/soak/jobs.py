"""The jobs that a soak schedules: at least one of each kind that jobu treats differently."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ZONES = (
    "",  # the configured default
    "UTC",
    "Asia/Seoul",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)
# On a loaded machine a slot may be late. With this grace it still runs and is not missed.
PATIENT_SECONDS = 3600
# A run that needs a place waits for the runs before it, and for places of lost workers.
WAITING_SECONDS = 25.0
CROWD, RATED = "crowd", "rated"
#: As the configuration says it.
GROUPS: Mapping[str, Mapping[str, int]] = {
    CROWD: {"max_running": 2, "max_running_per_key": 1},
    RATED: {"rate_count": 7, "rate_seconds": 4},
}
BACKOFF_SECONDS = 1
BACKOFF_MAX_SECONDS = 2
_PER_KEY = (CROWD + ": {key}", GROUPS[CROWD]["max_running_per_key"])
_RATE = (RATED, GROUPS[RATED]["rate_count"], GROUPS[RATED]["rate_seconds"])
_FROZEN = "INSERT INTO job_tags (job_id, tag) SELECT id, 'frozen' FROM cron_jobs WHERE name = %s"
_WAITS_FOR = (
    "INSERT INTO job_upstreams (job_id, upstream_id) SELECT j.id, u.id"
    " FROM cron_jobs j, cron_jobs u WHERE j.name = %s AND u.name = %s"
)


@dataclass(frozen=True, kw_only=True)
class SoakJob:
    """A row for cron_jobs, and how long one of its executions may take when no fault happens."""

    name: str
    cron_expression: str
    timezone: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    longest_seconds: float = 1.0
    limits: tuple[tuple[str, int], ...] = ()
    """Names of limits, and how many runs may go on at once under each. `{key}`: of the run."""
    rate: tuple[str, int, int] | None = None
    """Of a group: its name, starts, seconds."""
    after: str = ""
    """The name of the job whose success for the same slot it waits for."""
    is_frozen: bool = False
    shards: int | None = None
    """Of each run. 0: its plan() says how many."""

    @property
    def row(self) -> dict[str, Any]:
        defaults = {
            "handler_name": "soak",
            "handler_params": {"seconds": 0.02},
            "misfire_grace_seconds": PATIENT_SECONDS,
            # Enough for all faults that can hit one execution.
            "max_retry": 10,
            "retry_backoff_seconds": BACKOFF_SECONDS,
            "retry_backoff_max_seconds": BACKOFF_MAX_SECONDS,
        }
        row = {**defaults, **self.columns}
        if self.shards:
            row["shards"] = self.shards
        row["handler_params"] = json.dumps(row["handler_params"])
        return {
            "name": self.name,
            "cron_expression": self.cron_expression,
            "timezone": self.timezone,
            **row,
        }

    @property
    def statements(self) -> list[tuple[str, list[Any]]]:
        """The INSERTs that make it. That of the job that it waits for comes before."""
        row = self.row
        names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        found = [(f"INSERT INTO cron_jobs ({names}) VALUES ({marks})", list(row.values()))]
        if self.after:
            found.append((_WAITS_FOR, [self.name, self.after]))
        if self.is_frozen:
            found.append((_FROZEN, [self.name]))
        return found


def make_jobs(count: int, dice: random.Random, *, lease_seconds: float) -> list[SoakJob]:
    """Returns `count` jobs, the special ones first. The same `dice` give the same jobs."""
    special = list(_special(dice, lease_seconds))[:count]
    plain = [_plain(number, dice) for number in range(count - len(special))]
    return [*special, *plain]


def _special(dice: random.Random, lease_seconds: float) -> Iterator[SoakJob]:
    # The kinds alternate, so that a soak with few jobs has jobs of each kind.
    for number in range(3):
        for policy in ("skip", "queue_one", "replace"):
            yield SoakJob(
                name=f"overlap {policy} {number}",
                cron_expression=f"*/{2 + number} * * * * *",
                columns={"overlap_policy": policy, "handler_params": {"seconds": 3}},
                # Its own run, the run before it, and the delay until a waiting run looks again.
                longest_seconds=3 + 3 + 5 + 1,
            )
        yield SoakJob(
            name=f"flaky {number}",
            cron_expression=f"{number}/5 * * * * *",
            columns={"handler_params": {"fails": 0.4}, "max_retry": 3},
            longest_seconds=4 * 1 + 3 * 1.2 * BACKOFF_MAX_SECONDS,
        )
        yield SoakJob(
            name=f"too slow {number}",
            cron_expression=f"{number * 7}/20 * * * * *",
            columns={
                "handler_params": {"seconds": 30},
                "timeout_seconds": 1,
                "max_retry": 1,
            },
            longest_seconds=2 * 2 + 1.2 * BACKOFF_MAX_SECONDS,
        )
        yield SoakJob(
            name=f"long {number}",
            # It runs for ten leases, and starts in the first seconds of a soak of any length.
            cron_expression=f"{number * 20}/30 * * * * *",
            columns={"handler_params": {"seconds": 10 * lease_seconds}},
            longest_seconds=10 * lease_seconds + 1,
        )
        for policy in ("latest", "all", "skip"):
            yield SoakJob(
                name=f"impatient {policy} {number}",
                cron_expression=f"*/{dice.randint(2, 4)} * * * * *",
                columns={
                    "misfire_policy": policy,
                    "misfire_grace_seconds": 1,
                    "max_catchup": 2,
                },
            )
        yield SoakJob(
            name=f"jitter {number}",
            cron_expression="*/10 * * * * *",
            columns={"jitter_seconds": 3},
            longest_seconds=4,
        )
    yield from _limited()
    yield SoakJob(
        name="upstream",
        cron_expression="*/5 * * * * *",
        columns={"handler_params": {"fails": 0.2, "seconds": 0.1}},
        longest_seconds=11 * (0.1 + 1.2 * BACKOFF_MAX_SECONDS),
    )
    yield SoakJob(
        name="downstream",
        cron_expression="*/5 * * * * *",
        columns={"upstream_seconds": PATIENT_SECONDS},
        after="upstream",
        longest_seconds=11 * (0.1 + 1.2 * BACKOFF_MAX_SECONDS) + 2,
    )
    yield from _divided()
    yield from _approved()
    yield SoakJob(name="frozen", cron_expression="*/2 * * * * *", is_frozen=True)
    yield SoakJob(
        name="stuck",
        cron_expression="45 * * * * *",
        columns={"handler_name": "soak_stuck", "timeout_seconds": 1, "max_retry": 0},
        longest_seconds=4,
    )


def _limited() -> Iterator[SoakJob]:
    """Bursts of runs that need places: of a group, of a key in it, of the job, and of a rate."""
    for number in range(6):
        key = f"tenant {number % 3}"
        yield SoakJob(
            name=f"limited {number}",
            cron_expression="*/4 * * * * *",
            columns={
                "concurrency_group": CROWD,
                "concurrency_key": "params.tenant",
                "max_running": 1 if number < 2 else None,
                "handler_params": {"seconds": 0.3, "tenant": key, "fails": 0.1},
            },
            longest_seconds=WAITING_SECONDS,
            limits=(
                (CROWD, GROUPS[CROWD]["max_running"]),
                _PER_KEY,
                *(((f"job {number}", 1),) if number < 2 else ()),
            ),
        )
    for number in range(4):
        yield SoakJob(
            name=f"rated {number}",
            cron_expression=f"{number}/10 * * * * *",
            columns={"concurrency_group": RATED},
            longest_seconds=WAITING_SECONDS,
            rate=_RATE,
        )


def _divided() -> Iterator[SoakJob]:
    """Runs with shards: by the job and by plan(), with failures, policies and each kind of limit.

    A shard with `failures: 1` fails first, and is tried again.
    """
    yield SoakJob(
        name="divided",
        cron_expression="*/5 * * * * *",
        shards=4,
        columns={"handler_params": {"seconds": 0.1, "failures": 1, "fails": 0.1}},
        longest_seconds=11 * (0.1 + 1.2 * BACKOFF_MAX_SECONDS),
    )
    yield SoakJob(
        name="after divided",
        cron_expression="*/5 * * * * *",
        columns={"upstream_seconds": PATIENT_SECONDS},
        after="divided",
        longest_seconds=12 * (0.1 + 1.2 * BACKOFF_MAX_SECONDS),
    )
    yield SoakJob(
        name="divided in vain",
        cron_expression="1/5 * * * * *",
        shards=3,
        columns={"handler_params": {"fails": 0.4}, "max_retry": 1},
        longest_seconds=4 + 1.2 * BACKOFF_MAX_SECONDS,
    )
    yield SoakJob(
        name="planned",
        cron_expression="2/5 * * * * *",
        shards=0,
        columns={
            "handler_name": "soak_planned",
            "handler_params": {"most": 4, "plan_fails": 0.2, "seconds": 0.1, "fails": 0.2},
        },
        longest_seconds=22 * (0.1 + 1.2 * BACKOFF_MAX_SECONDS),
    )
    for policy in ("queue_one", "replace"):
        yield SoakJob(
            name=f"divided {policy}",
            cron_expression="*/4 * * * * *",
            shards=3,
            columns={
                "overlap_policy": policy,
                "max_running": 2,
                "handler_params": {"seconds": 1.5, "fails": 0.1},
            },
            limits=((f"divided {policy}", 2),),
            longest_seconds=WAITING_SECONDS,
        )
    yield SoakJob(
        name="divided for tenants",
        cron_expression="3/8 * * * * *",
        shards=0,
        columns={
            "handler_name": "soak_planned",
            "handler_params": {"tenants": 3, "seconds": 0.2, "fails": 0.1},
            "concurrency_group": CROWD,
            "concurrency_key": "params.tenant",
        },
        limits=((CROWD, GROUPS[CROWD]["max_running"]), _PER_KEY),
        longest_seconds=WAITING_SECONDS,
    )
    yield SoakJob(
        name="divided by rate",
        cron_expression="4/10 * * * * *",
        shards=4,
        columns={"concurrency_group": RATED},
        rate=_RATE,
        longest_seconds=WAITING_SECONDS,
    )


def _approved() -> Iterator[SoakJob]:
    """Runs that the soak, as a person, approves, rejects, or leaves alone."""
    for number, seconds in enumerate((2, 6)):
        yield SoakJob(
            name=f"approved {number}",
            cron_expression=f"{number}/3 * * * * *",
            columns={"approval_seconds": seconds, "handler_params": {"fails": 0.2}},
            longest_seconds=seconds + 11 * 1.2 * BACKOFF_MAX_SECONDS,
        )
    yield SoakJob(
        name="approved and divided",
        cron_expression="*/6 * * * * *",
        shards=2,
        columns={"approval_seconds": 3, "handler_params": {"fails": 0.2}},
        longest_seconds=3 + 11 * 1.2 * BACKOFF_MAX_SECONDS,
    )


def _plain(number: int, dice: random.Random) -> SoakJob:
    return SoakJob(
        name=f"plain {number}",
        cron_expression=_every_few_seconds(dice) if number % 3 == 0 else _every_few_minutes(dice),
        timezone=dice.choice(ZONES),
        columns={"handler_params": {"seconds": dice.choice([0, 0.02, 0.1])}},
    )


def _every_few_seconds(dice: random.Random) -> str:
    first = dice.randrange(30)
    last = dice.randint(first + 20, 59)
    seconds = dice.choice(
        [
            f"*/{dice.randint(4, 15)}",
            f"{first}-{last}/{dice.randint(3, 9)}",
            ",".join(map(str, sorted(dice.sample(range(60), 6)))),
        ]
    )
    return f"{seconds} * * * * *"


def _every_few_minutes(dice: random.Random) -> str:
    minutes = dice.choice(
        [
            "*",
            "*",
            f"*/{dice.randint(2, 4)}",
            f"{dice.randrange(3)}-59/2",
            # In zones with an offset of 30 or 45 minutes these are other instants than in UTC.
            ",".join(map(str, sorted(dice.sample(range(60), 20)))),
        ]
    )
    hours = dice.choice(["*", "*", "0-23", "*/1"])
    days = dice.choice(["* * *", "* * *", "1-31 * *", "* 1-12 *", "* * 0-6", "* * sun-sat"])
    return f"{minutes} {hours} {days}"
