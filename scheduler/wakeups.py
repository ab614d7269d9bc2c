"""Something became runnable: the one function that tells the workers, after the commit.

It only makes a run start sooner. Beat finds every row that may start at its next tick, so a message
that is not sent delays a run by a second and loses none. That is why everything here is best
effort: a request never waits for the broker, and one commit sends a few messages at most.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from queue import Full, Queue
from typing import Final, Protocol

from django.db import connection, transaction

from scheduler.events import emit
from scheduler.models import JobExecution
from scheduler.store.publishing import Hint

#: One commit sends so many messages; the other rows wait for beat's next tick.
MESSAGES_OF_A_COMMIT: Final = 10
#: So many messages wait for the broker in one process. Further ones are beat's.
_WAITING: Final = 100
#: How long the end of a process waits for its messages: a command ends right after its commit.
_END_SECONDS: Final = 1.0


class Messenger(Protocol):
    def ready(self) -> bool:
        """False while the broker is known to be away."""

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        """Send the messages. May block for seconds; raises nothing."""


def execution_became_runnable(execution: JobExecution) -> None:
    """The same for a row at hand."""
    became_runnable(
        execution.pk,
        handler_name=execution.handler_name,
        queue=execution.queue,
        timeout_seconds=execution.timeout_seconds,
        attempt=execution.attempt + 1,
    )


def became_runnable(
    execution_id: int, *, handler_name: str, queue: str, timeout_seconds: int, attempt: int = 1
) -> None:
    """Call it in the transaction that made an execution runnable. A rollback sends nothing.

    One callback serves a whole transaction. If its savepoint is rolled back, Django drops it, and
    the next call makes another one.
    """
    if _post is None:
        return
    hint = Hint(
        execution_id=execution_id,
        handler_name=handler_name,
        queue=queue,
        timeout_seconds=timeout_seconds,
        attempt=attempt,
        publish_count=0,
    )
    after_commit = _callback_of_this_transaction()
    if after_commit is None:
        transaction.on_commit(_AfterCommit(_post, hint), robust=True)
    else:
        after_commit.add(hint)


def _callback_of_this_transaction() -> _AfterCommit | None:
    # The newest first: a shop may have thousands of callbacks of its own.
    for registered in reversed(connection.run_on_commit):
        if isinstance(registered[1], _AfterCommit):
            return registered[1]
    return None


class _AfterCommit:
    """The callback of one transaction. Rows whose savepoint was rolled back do no harm."""

    def __init__(self, post: Post, first: Hint) -> None:
        self._post = post
        self._hints = [first]

    def add(self, hint: Hint) -> None:
        if len(self._hints) < MESSAGES_OF_A_COMMIT:
            self._hints.append(hint)

    def __call__(self) -> None:
        self._post.send(self._hints)


class Post:
    """Sends in a thread of its own, which begins with the first message of a process."""

    def __init__(self, messenger: Callable[[], Messenger]) -> None:
        self._make_messenger = messenger
        self._lock = threading.Lock()
        self._pid = 0
        self._queue: Queue[Hint | threading.Event] = Queue(_WAITING)

    def send(self, hints: Sequence[Hint]) -> None:
        """Returns at once."""
        self._begin()
        for hint in hints:
            try:
                self._queue.put_nowait(hint)
            except Full:
                return

    def flush(self, seconds: float) -> None:
        """Wait until what was sent before has left this process, at most so long."""
        if self._pid != os.getpid():
            return
        done = threading.Event()
        try:
            self._queue.put(done, timeout=seconds)
        except Full:
            return
        done.wait(seconds)

    def _begin(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            # A child has its parent's queue, and no thread.
            self._pid = os.getpid()
            self._queue = Queue(_WAITING)
            thread = threading.Thread(
                target=self._run, args=(self._queue,), name="jobu-post", daemon=True
            )
            thread.start()
        atexit.register(self.flush, _END_SECONDS)

    def _run(self, queue: Queue[Hint | threading.Event]) -> None:
        messenger = self._make_messenger()
        while True:
            item = queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif messenger.ready():
                # Without this thread the process would never send again. Beat sends this one.
                try:
                    messenger.publish([item])
                except Exception as error:  # noqa: BLE001
                    emit("publish.failed", error=f"{type(error).__name__}: {error}")


_post: Post | None = None


def send_through(messenger: Callable[[], Messenger] | None) -> None:
    """How messages are sent. `messenger` is called in the thread that sends. None: not at all."""
    global _post
    _post = None if messenger is None else Post(messenger)
