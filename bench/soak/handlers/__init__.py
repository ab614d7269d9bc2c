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
    " slot TEXT, token TEXT, what TEXT, at REAL)"
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
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                context.execution_id,
                context.attempt,
                context.job_id,
                context.scheduled_time.isoformat(),
                context.lease_token,
                what,
                time.time(),
            ),
        )


@handler("soak")
class Soak(LedgerHandler):
    """Takes `seconds`. The first `failures` attempts fail, and a share `fails` of all attempts.

    In every soak with the same seed the same attempts of a slot fail. With `gated`, an attempt also
    waits until its `gate` file exists beside the ledgers.
    """

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        await asyncio.sleep(params.get("seconds", 0))
        if params.get("gated"):
            await self.pass_gate()
        dice = random.Random(f"{self.context.idempotency_key} {self.context.attempt}")
        unlucky = dice.random() < params.get("fails", 0)
        if unlucky or self.context.attempt <= params.get("failures", 0):
            raise RuntimeError("as arranged")
        self.write("end")
        return {"attempt": self.context.attempt}

    async def pass_gate(self) -> None:
        mine = gate(Path(os.environ[LEDGER_VARIABLE]), self.context.attempt)
        while not mine.exists():  # noqa: ASYNC110 - made by another process
            await asyncio.sleep(0.05)


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
