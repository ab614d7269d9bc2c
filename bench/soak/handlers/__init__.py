"""Handlers that write what they do into a ledger of their own, outside of jobu's tables.

One SQLite file per process: a process that is stopped in the middle of a write holds up nobody.
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
    # Nanoseconds: the kernel gives a dead process's pid away again.
    path = Path(os.environ[LEDGER_VARIABLE]) / f"{pid}-{time.time_ns()}.sqlite3"
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(LEDGER_TABLE)
    return connection


def gate(ledgers: Path, attempt: int) -> Path:
    """The file that lets this attempt of every gated run pass."""
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
    """Takes `seconds`; fails its first `failures` attempts, and a share `fails` of all attempts.

    The same slot fails in the same attempts in every soak of a seed. With `gated`, it also waits
    until somebody has made its attempt's `gate` beside the ledgers.
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
    """Ignores its timeout: its process has to end."""

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
