"""What dbpools knows of MySQL's protocol and asyncmy has no names or no switches for."""

from typing import Any

from asyncmy.constants import CR
from asyncmy.cursors import Cursor, SSCursor

# The server ends a connection for many reasons: shutdown, kill, time limits.
LOST_CODES = {
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    CR.CR_CONN_HOST_ERROR,
    CR.CR_COMMANDS_OUT_OF_SYNC,
    1040,  # too many connections: another moment may have room
    1053,
    1158,
    1159,
    1160,
    1161,
    1927,
    4031,
}
# 1290 and 1836 mean a read-only server (a replica): there the server's own message is the best.
READ_ONLY_TRANSACTION = 1792
# What asyncmy has no names for.
COM_RESET_CONNECTION = 0x1F
SERVER_SESSION_STATE_CHANGED = 0x4000
DDL_VERBS = ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE")
DEADLOCK, LOCK_TIMEOUT = 1213, 1205


class QuietCursor(Cursor):
    """Does not fetch and log the server's warnings: they show values and cost a round trip."""

    async def _show_warnings(self, conn: Any) -> None:
        """Does nothing."""


class QuietStreamCursor(SSCursor):
    """The same for unbuffered results."""

    async def _show_warnings(self, conn: Any) -> None:
        """Does nothing."""
