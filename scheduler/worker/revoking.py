"""`celery control revoke` and `terminate`, and the buttons of Flower, for runs.

Celery's own commands know messages and pool processes. A run is a row, so it is cancelled as the
admin cancels it. The ids of other tasks go on to Celery's commands.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

from celery.worker.control import Panel, nok, ok
from django.core.exceptions import ObjectDoesNotExist
from django.db import close_old_connections, connection

from scheduler.events import emit
from scheduler.limits import limit_connection
from scheduler.models import LARGEST_ID
from scheduler.operations.actor import Actor
from scheduler.operations.executions import ExecutionOperations

_PREFIX: Final = "jobu-"
_UUID: Final = re.compile(r"jobu-(\d{1,19})-(\d{1,9})", re.ASCII)
# Celery's main loop waits so long for the answer of the database, and no longer.
_ANSWER_SECONDS: Final = 0.5
_ACTOR: Final = Actor(name="celery")
_NO_ID: Final = "no run has such an id"

Command = Callable[..., Any]


@dataclass(eq=False)
class _Asked:
    """Runs to be cancelled, and what became of each: (whether it is cancelled, in words)."""

    uuids: Sequence[str]
    answers: dict[str, tuple[bool, str]] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Revoker:
    """Cancels runs in a thread of its own, which begins with the first one.

    `in_database` is entered around the use of the database: a fork must not fall into it.
    """

    def __init__(self, in_database: Callable[[], AbstractContextManager[Any]]) -> None:
        self._in_database = in_database
        self._queue: SimpleQueue[_Asked] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def cancel(self, uuids: Sequence[str]) -> list[tuple[bool, str]]:
        """Ask for the runs to be cancelled. Blocks for half a second at most."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jobu-revoke", daemon=True)
            self._thread.start()
        asked = _Asked(uuids)
        self._queue.put(asked)
        asked.done.wait(_ANSWER_SECONDS)
        later = (True, "it will be cancelled, the database has not answered yet")
        found = [(uuid, asked.answers.get(uuid, later)) for uuid in uuids]
        return [(is_done, f"{uuid}: {text}") for uuid, (is_done, text) in found]

    def _run(self) -> None:
        limit_connection()
        while True:
            asked = self._queue.get()
            with self._in_database():
                for uuid in asked.uuids:
                    asked.answers[uuid] = _cancel(uuid)
                connection.close()  # a child that is forked now must not inherit an open socket
            asked.done.set()


def _cancel(uuid: str) -> tuple[bool, str]:
    match = _UUID.fullmatch(uuid)
    if match is None or not 0 < int(match[1]) <= LARGEST_ID:
        return False, _NO_ID
    execution_id, attempt = int(match[1]), int(match[2])
    try:
        close_old_connections()
        cancel = ExecutionOperations(actor=_ACTOR).cancel_attempt(execution_id, attempt)
    except ObjectDoesNotExist:
        return False, _NO_ID
    # A database that is away, or anything else: the thread goes on, and the answer says it.
    except Exception as error:  # noqa: BLE001
        connection.close()
        text = f"{type(error).__name__}: {error}"
        emit("revoke.failed", task_id=uuid, error=text)
        return False, f"it could not be cancelled ({type(error).__name__})"
    if cancel.attempt != attempt:
        return False, f"this attempt is not current, the execution is at attempt {cancel.attempt}"
    if cancel.is_new:
        return True, "cancelled" if cancel.has_ended else "its worker is asked to cancel it"
    return (False, "it has ended") if cancel.has_ended else (True, "it is being cancelled already")


def install(*, in_database: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
    """Put our commands before Celery's. Does nothing the second time."""
    theirs: Command = Panel.data["revoke"]
    if getattr(theirs, "is_jobus", False):
        return
    revoker = Revoker(in_database)

    def revoke(
        state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **options: Any
    ) -> Any:
        ids = [task_id] if isinstance(task_id, str) else task_id or []
        if not isinstance(ids, list | tuple | set) or not all(isinstance(i, str) for i in ids):
            return nok("ids of tasks must be texts")
        ours = sorted({uuid for uuid in ids if uuid.startswith(_PREFIX)})
        others = [uuid for uuid in ids if not uuid.startswith(_PREFIX)]
        said = revoker.cancel(ours) if ours else []
        text = "; ".join(each for _, each in said)
        if ours and not others:
            return ok(text) if any(is_done for is_done, _ in said) else nok(text)
        answer = theirs(state, others, terminate=terminate, signal=signal, **options)
        if said and isinstance(answer, dict):
            answer = {kind: f"{text}; {each}" for kind, each in answer.items()}
        return answer

    def terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Any:
        return revoke(state, task_id, terminate=True, signal=signal)

    revoke.is_jobus = True  # type: ignore[attr-defined]
    # Their help and arguments (Panel.meta) stay: the command line reads them.
    Panel.data["revoke"] = revoke
    Panel.data["terminate"] = terminate
