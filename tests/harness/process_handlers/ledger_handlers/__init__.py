"""Handlers for tests with real processes. They write what they do into a ledger.

Tests compare the ledger with jobu's tables.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from functools import cache
from typing import Any

from handlers import BaseHandler, handler


@cache
def _ledger(pid: int) -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ["JOBU_TEST_LEDGER"], timeout=20, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


class LedgerHandler(BaseHandler):
    """Writes one line per event: begin, end or another one."""

    def write(self, what: str) -> None:
        context = self.context
        _ledger(os.getpid()).execute(
            "INSERT INTO ledger (execution_id, attempt, token, what, pid) VALUES (?, ?, ?, ?, ?)",
            (context.execution_id, context.attempt, context.lease_token, what, os.getpid()),
        )


@handler("ledger")
class Quick(LedgerHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        await asyncio.sleep(params.get("sleep_seconds", 0))
        self.write("end")
        return {"attempt": self.context.attempt}


@handler("slow_first_time")
class SlowFirstTime(LedgerHandler):
    """Takes a minute on its first attempt and no time on later ones."""

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        if self.context.attempt == 1:
            await asyncio.sleep(60)
        self.write("end")
        return {"attempt": self.context.attempt}


@handler("blocks_the_loop")
class BlocksTheLoop(LedgerHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        time.sleep(60)  # noqa: ASYNC251, TID251 - the mistake that the test needs
        return {}


@handler("ignores_cancellation")
class IgnoresCancellation(LedgerHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.write("begin")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue


@handler("waits_for_file")
class WaitsForFile(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        # Nothing inside this process could tell it that the test has written the file.
        while not os.path.exists(params["path"]):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.1)
        return {}
