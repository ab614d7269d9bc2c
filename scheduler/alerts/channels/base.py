"""What all channels share: the message, the error, and the limit of time."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

#: So many sends may hang in one process. Further ones are refused until some of them have ended.
_MOST_HANGING: Final = 20


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A message as its recipient reads it.

    `key`: the same for each try, so that a receiver recognises a doubled message. `address`: a mail
    address; None: as the channel says. `facts`: JSON for programs, without secrets.
    """

    key: str
    subject: str
    text: str
    address: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class DeliveryError(Exception):
    """A message was not delivered. `permanent`: another try would not help.

    `reason` is shown to people, so it holds no secret.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        self.reason, self.permanent = reason, permanent
        super().__init__(reason)


class Sender(Protocol):
    """A channel that is ready to send."""

    def send(self, message: Rendered, *, deadline_seconds: float) -> None:
        """Blocks for `deadline_seconds` at most. Raises DeliveryError."""


_hanging = threading.BoundedSemaphore(_MOST_HANGING)


def within(seconds: float, what: str, work: Callable[[], T]) -> T:
    """Returns what `work` returns. Raises DeliveryError where that takes longer, else its error.

    `work` goes on in its thread, as nothing can stop a library that waits for a socket. So it must
    have time limits of its own, if longer ones, and a doubled send must do no harm.
    """
    if not _hanging.acquire(blocking=False):
        raise DeliveryError(f"{_MOST_HANGING} sends of this process do not end")
    ended = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        # Whatever a library raises belongs to the caller.
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            _hanging.release()
            ended.set()

    # Not threading.Thread: a run's own threads must end with it, else its process ends
    # (handlers/leftovers.py), and a receiver that never answers must not end other runs.
    _thread.start_new_thread(run, ())
    if not ended.wait(seconds):
        raise DeliveryError(f"{what} has not answered within {seconds:g} s")
    if errors:
        raise errors[0]
    return results[0]
