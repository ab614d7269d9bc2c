"""Slows sign-ins down after ten failures of one name from one address.

The failures are counted in the database, so all web processes count together.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.models import SignInFailures
from scheduler.operations.base import Operations
from scheduler.store import sign_ins
from scheduler.transient import in_transaction

FREE_FAILURES: Final = 10
FIRST_WAIT_SECONDS: Final = 30
LONGEST_WAIT_SECONDS: Final = 15 * 60
# Failures are forgotten after this time without another one.
_FORGOTTEN_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class SignIns(Operations):
    """The operations on failed sign-ins."""

    def begin(self, name: str, address: str) -> int:
        """Returns 0 if the password may be checked now, else the seconds to wait.

        The attempt is counted as a failure before its password is checked: many attempts at the
        same moment are not checked all at once. `succeeded` takes it back.
        """

        def work() -> int:
            now = self.clock.now()
            sign_ins.forget_older(now - _FORGOTTEN_AFTER)
            row = sign_ins.lock(_hash_of(name, address), now=now)
            seconds = seconds_to_wait(row, now)
            if not seconds:
                sign_ins.count(row, failures=row.failures + 1, now=now)
            return seconds

        return in_transaction(work)

    def succeeded(self, name: str, address: str) -> None:
        """Forgets the failures of this name from this address."""
        in_transaction(lambda: sign_ins.forget(_hash_of(name, address)))


def seconds_to_wait(row: SignInFailures, now: datetime) -> int:
    """The wait doubles with each failure beyond the free ones."""
    beyond = row.failures - FREE_FAILURES
    if beyond < 0:
        return 0
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(beyond, 10), LONGEST_WAIT_SECONDS)
    passed = (now - row.last_at).total_seconds()
    # A clock that was set back must not make the wait longer.
    return 0 if passed >= wait else min(wait, int(wait - passed) + 1)


def _hash_of(name: str, address: str) -> str:
    """Only a hash is stored, because people type passwords into the field of the name, too."""
    key = json.dumps([unicodedata.normalize("NFKC", name).casefold(), address])
    return hashlib.sha256(key.encode()).hexdigest()
