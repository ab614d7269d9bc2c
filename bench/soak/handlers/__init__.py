"""Handlers that write what they do into a ledger outside of jobu's tables.

Each process has its own SQLite file, so that a process stopped during a write blocks no other.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from functools import cache
from pathlib import Path
from typing import Any

from handlers import BaseHandler, handler

LEDGER_VARIABLE = "JOBU_SOAK_LEDGER"
LEDGER_TABLE = (
    "CREATE TABLE IF NOT EXISTS ledger (execution_id INTEGER, attempt INTEGER, job_id INTEGER,"
    " slot TEXT, token TEXT, what TEXT, at REAL, job_name TEXT, shard INTEGER)"
)


@cache
def _ledger(pid: int) -> sqlite3.Connection:
    # The time makes the name unique, because the kernel reuses the pid of a dead process.
    path = Path(os.environ[LEDGER_VARIABLE]) / f"{pid}-{time.time_ns()}.sqlite3"
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(LEDGER_TABLE)
    return connection


def gate(ledgers: Path, attempt: int) -> Path:
    """Returns the file that lets this attempt of every gated run end."""
    return ledgers / f"gate-{attempt}"


class LedgerHandler(BaseHandler):
    def write(self, what: str) -> None:
        context = self.context
        _ledger(os.getpid()).execute(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                context.execution_id,
                context.attempt,
                context.job_id,
                context.scheduled_time.isoformat(),
                context.lease_token,
                what,
                time.time(),
                context.job_name,
                None if context.shard is None else context.shard.index,
            ),
        )

    def is_unlucky(self, share: float) -> bool:
        """The same for each soak with the same seed: it depends on the slot, shard and attempt."""
        context = self.context
        part = "" if context.shard is None else f" {context.job_name} {context.shard.index}"
        slot = context.scheduled_time.isoformat() if part else context.idempotency_key
        return random.Random(f"{slot}{part} {context.attempt}").random() < share


@handler("soak")
class Soak(LedgerHandler):
    """Takes `seconds`. The first `failures` attempts fail, and a share `fails` of all attempts.

    In every soak with the same seed the same attempts of a slot fail. With `gated`, an attempt also
    waits until its `gate` file exists beside the ledgers.
    """

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        try:
            await self.work(params)
            self.write("end")
        finally:
            self.write("out")
        return {"attempt": self.context.attempt}

    async def work(self, params: dict[str, Any]) -> None:
        await asyncio.sleep(params.get("seconds", 0))
        if params.get("gated"):
            await self.pass_gate()
        unlucky = self.is_unlucky(params.get("fails", 0))
        if unlucky or self.context.attempt <= params.get("failures", 0):
            raise RuntimeError("as arranged")

    async def pass_gate(self) -> None:
        mine = gate(Path(os.environ[LEDGER_VARIABLE]), self.context.attempt)
        while not mine.exists():  # noqa: ASYNC110 - made by another process
            await asyncio.sleep(0.05)


@handler("soak_planned")
class Planned(Soak):
    """Divides each run by plan(): into up to `most` shards, or into one for each of its tenants.

    A share `plan_fails` of the attempts to divide fails.
    """

    async def plan(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.write("plan")
        try:
            shards = self.shards(params)
            self.write(f"planned {len(shards)}")
        finally:
            self.write("out")
        return shards

    def shards(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        if self.is_unlucky(params.get("plan_fails", 0)):
            raise RuntimeError("as arranged")
        if most := params.get("most"):
            dice = random.Random(self.context.idempotency_key)
            return [{**params, "number": n} for n in range(dice.randint(0, most))]
        return [{**params, "tenant": f"tenant {n}"} for n in range(params.get("tenants", 0))]


@handler("soak_stuck")
class Stuck(LedgerHandler):
    """Ignores its timeout, so that its process has to end."""

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
