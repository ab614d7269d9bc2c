"""Something became runnable: the functions that wake the workers of a queue.

A wake-up only makes a run start sooner. Workers look into the table every second, and beat wakes
the workers of every queue that has work: a wake-up that is not sent delays a run by a second and
loses none. That is why everything here is best effort, and a request never waits for the broker.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Final

from django.db import connection, transaction

from scheduler.events import emit
from scheduler.wakeup_messages import Sender, format_error

#: The wake-ups of so many queues wait for the broker in one process. Further ones are beat's.
_WAITING: Final = 100
#: After an errand, what becomes runnable within this time goes with the next one: to ask how many
#: messages wait in a queue costs as much as to send one.
_GAP_SECONDS: Final = 0.02
#: How long the end of a process waits for its wake-ups: a command ends right after its commit.
_END_SECONDS: Final = 1.0


def became_runnable(queue: str) -> None:
    """Call it in the transaction that made an execution runnable. A rollback sends nothing.

    One callback serves a whole transaction. If its savepoint is rolled back, Django drops it, and
    the next call makes another one.
    """
    if _post is None:
        return
    after_commit = _callback_of_this_transaction()
    if after_commit is None:
        transaction.on_commit(_AfterCommit(_post, queue), robust=True)
    else:
        after_commit.queues.add(queue)


def wake(queue: str, times: int = 1) -> None:
    """Wake the workers of a queue, outside of a transaction. Returns at once."""
    if _post is not None:
        _post.send(queue, times)


def _callback_of_this_transaction() -> _AfterCommit | None:
    # The newest first: a shop may have thousands of callbacks of its own.
    for registered in reversed(connection.run_on_commit):
        if isinstance(registered[1], _AfterCommit):
            return registered[1]
    return None


class _AfterCommit:
    """The callback of one transaction. A queue whose savepoint was rolled back does no harm."""

    def __init__(self, post: Post, queue: str) -> None:
        self._post = post
        self.queues = {queue}

    def __call__(self) -> None:
        for queue in self.queues:
            self._post.send(queue)


class Post:
    """Sends in a thread of its own, which begins with the first wake-up of a process."""

    def __init__(self, sender: Callable[[], Sender]) -> None:
        self._make_sender = sender
        self.forget()

    def forget(self) -> None:
        """Begin anew. A child has its parent's lock and wake-ups, and no thread."""
        self._change = threading.Condition()
        self._waiting: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._is_sending = self._hurries = False

    def send(self, queue: str, times: int = 1) -> None:
        """Returns at once."""
        with self._change:
            if queue not in self._waiting and len(self._waiting) >= _WAITING:
                return
            self._waiting[queue] = max(times, self._waiting.get(queue, 0))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobu-post", daemon=True)
                self._thread.start()
                atexit.register(self.flush, _END_SECONDS)
            self._change.notify_all()

    def flush(self, seconds: float) -> None:
        """Wait until what was sent before has left this process, at most so long."""
        with self._change:
            if self._thread is None:
                return
            self._hurries = True
            self._change.notify_all()
            self._change.wait_for(lambda: not self._waiting and not self._is_sending, seconds)
            self._hurries = False

    def _run(self) -> None:
        sender = self._make_sender()
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting)
                times, self._waiting = self._waiting, {}
                self._is_sending = True
            try:
                if sender.ready():
                    sender.send(times)
            # Without this thread the process would never send again.
            except Exception as error:  # noqa: BLE001
                emit("publish.failed", error=format_error(error))
            with self._change:
                self._is_sending = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._hurries, _GAP_SECONDS)


_post: Post | None = None


def send_through(sender: Callable[[], Sender] | None) -> None:
    """How wake-ups are sent. `sender` is called in the thread that sends. None: not at all."""
    global _post
    _post = None if sender is None else Post(sender)


def _after_fork() -> None:
    if _post is not None:
        _post.forget()


os.register_at_fork(after_in_child=_after_fork)
