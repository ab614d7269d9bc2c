"""The person of a soak: approves runs that wait for it, rejects some, and leaves some alone.

A process of its own, which no fault hits; the database may be away. It uses the operations of the
scheduler, as the admin and the API do. Ends when its parent does.

    python -m bench.soak.approver FILE
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.3
_APPROVES_LATE, _APPROVES, _REJECTS = 0.15, 0.6, 0.75
# Late: in the last moment, together with the beat that ends the run.
_LATE_SECONDS = 0.4


def main(path: Path) -> None:
    import django

    django.setup()
    from django.db import DatabaseError, InterfaceError, close_old_connections, connection

    parent = os.getppid()
    approver = _Approver(path)
    while os.getppid() == parent:
        try:
            approver.look()
        except (DatabaseError, InterfaceError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)  # the database is restarted
            connection.close()
        close_old_connections()
        time.sleep(_LOOK_SECONDS)


class _Approver:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: set[int] = set()

    def look(self) -> None:
        from scheduler.models import JobExecution
        from scheduler.operations.actor import Actor
        from scheduler.operations.approvals import ApprovalOperations, digest_of_params
        from scheduler.states import ReasonCode, RunStatus

        operations = ApprovalOperations(actor=Actor(name="soak"))
        rows = JobExecution.objects.filter(
            status=RunStatus.PENDING, reason_code=ReasonCode.AWAITS_APPROVAL
        )
        for row in rows.order_by("id"):
            if row.pk in self._done:
                continue
            # The same for every look at the run.
            fate = random.Random(f"{row.job_id} {row.scheduled_time}").random()
            if fate < _APPROVES_LATE and not self._is_late(row.pk):
                continue
            digest = digest_of_params(row)
            if fate < _APPROVES:
                self._decide("approv", partial(operations.approve, row.pk, digest=digest), row.pk)
            elif fate < _REJECTS:
                self._decide("reject", partial(operations.reject, row.pk, digest=digest), row.pk)
            self._done.add(row.pk)

    def _is_late(self, execution_id: int) -> bool:
        from scheduler.models import RunApproval

        known = RunApproval.objects.filter(execution_id=execution_id).first()
        return known is None or known.expires_at.timestamp() < time.time() + _LATE_SECONDS

    def _decide(self, what: str, act: Callable[[], Any], execution_id: int) -> None:
        from scheduler.operations.errors import NotPossible

        self._write(execution_id, f"{what}ing")
        try:
            act()
        except NotPossible as error:
            # Decided by a commit whose answer was lost, or its time is over.
            print(f"execution {execution_id}: {error}", flush=True)
            return
        self._write(execution_id, "approved" if what == "approv" else "rejected")

    def _write(self, execution_id: int, what: str) -> None:
        entry = {"execution_id": execution_id, "what": what, "at": time.time()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
