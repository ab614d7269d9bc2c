"""What a running handler may know about its run, and how it reports from it."""

from __future__ import annotations

import math
import traceback
from asyncio import Task
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from handlers.json_safe import storable_text

LOG_MESSAGE_BYTES = 4096
PROGRESS_MESSAGE_BYTES = 500


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The facts of one attempt, as the scheduler knows them. Instants are aware UTC."""

    execution_id: int
    job_id: int | None
    job_name: str
    handler_name: str
    scheduled_time: datetime
    logical_time: datetime | None
    attempt: int
    max_attempts: int
    timeout_seconds: float
    lease_token: str

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at one slot: send it along to systems that can deduplicate."""
        # A run that stands for a slot is to do its work again: it has a key of its own.
        if self.job_id is None or self.logical_time is not None:
            return f"execution:{self.execution_id}"
        slot = self.scheduled_time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return f"{self.job_id}:{slot}"

    @property
    def fencing_token(self) -> int:
        """Rises with each attempt; a downstream system should refuse a lower one than it saw."""
        return self.attempt


class Sink(Protocol):
    """Where a run's log and progress go. Called from any thread; must not block nor raise."""

    def log(self, level: str, message: str) -> None:
        """`level`: DEBUG, INFO, WARNING or ERROR; `message`: storable, at most 4 KiB."""

    def progress(self, percent: float | None, message: str) -> None:
        """`percent`: 0 to 100, None when unknown; `message`: storable, at most 500 bytes."""


class RunLog:
    """The run's own log, called like a logger: `log.info("%s rows", n)`. Never raises."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def debug(self, message: object, *args: object) -> None:
        self._write("DEBUG", message, args)

    def info(self, message: object, *args: object) -> None:
        self._write("INFO", message, args)

    def warning(self, message: object, *args: object) -> None:
        self._write("WARNING", message, args)

    def error(self, message: object, *args: object) -> None:
        self._write("ERROR", message, args)

    def exception(self, message: object, *args: object) -> None:
        """Like error(), followed by the traceback of the exception being handled."""
        self._write("ERROR", message, args, tail="\n" + traceback.format_exc().rstrip())

    def _write(
        self, level: str, message: object, args: tuple[object, ...], *, tail: str = ""
    ) -> None:
        try:
            text = str(message)
            # One mapping alone serves named placeholders, as in the standard logging.
            values: Any = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
            text = text % values if args else text
        except Exception as exc:  # noqa: BLE001 - a slip in a log line must not fail the job
            text = f"{message!r} (could not be formatted: {type(exc).__name__})"
        self._sink.log(level, storable_text(text + tail, LOG_MESSAGE_BYTES))


class HandlerContext:
    """One attempt as its handler sees it: who it is, how long it has, where its words go."""

    def __init__(self, info: RunInfo, sink: Sink, monotonic: Callable[[], float]) -> None:
        self.info = info
        self.execution_id = info.execution_id
        self.job_id = info.job_id
        self.job_name = info.job_name
        self.handler_name = info.handler_name
        self.scheduled_time = info.scheduled_time
        self.logical_time = info.logical_time
        self.attempt = info.attempt
        self.max_attempts = info.max_attempts
        self.timeout_seconds = info.timeout_seconds
        self.lease_token = info.lease_token
        self.log = RunLog(sink)
        self._sink = sink
        self._monotonic = monotonic
        self._deadline = monotonic() + info.timeout_seconds
        self._stop = False
        # What the run has started and may leave behind; kept up to date by task_tracking.py.
        self.tasks: set[Task[Any]] = set()
        self.thread_calls: set[Future[Any]] = set()

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this slot; see RunInfo."""
        return self.info.idempotency_key

    @property
    def fencing_token(self) -> int:
        """Rises with each attempt at this slot; see RunInfo."""
        return self.info.fencing_token

    def progress(self, percent: float | None, message: str = "") -> None:
        """Say how far the run is; `percent` is held within 0 to 100, None means unknown."""
        if percent is not None:
            percent = float(percent)
            if math.isnan(percent):
                raise ValueError("progress: percent is not a number")
            percent = min(100.0, max(0.0, percent))
        self._sink.progress(percent, storable_text(str(message), PROGRESS_MESSAGE_BYTES))

    def seconds_left(self) -> float:
        """Seconds until the timeout; 0 when it has passed."""
        return max(0.0, self._deadline - self._monotonic())

    @property
    def stop_requested(self) -> bool:
        """True once the run was cancelled or timed out: code in a thread should return."""
        return self._stop

    def request_stop(self) -> None:
        """Let code in threads know that its run is over; the runner calls it."""
        self._stop = True


running: ContextVar[HandlerContext] = ContextVar("jobu_running")


def current() -> HandlerContext:
    """The context of the run this code is part of; RuntimeError outside of a run.

    Tasks and `asyncio.to_thread` inherit it; a bare `threading.Thread` does not (use
    `self.context` there).
    """
    try:
        return running.get()
    except LookupError:
        raise RuntimeError("current() was called outside of a running handler") from None
