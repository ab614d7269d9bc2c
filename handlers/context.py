"""What a running handler knows about its run, and how it reports from it."""

from __future__ import annotations

import math
import traceback
import uuid
from asyncio import Task
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from handlers.hooks import RunHooks
from handlers.json_safe import storable_text, text_of

LOG_MESSAGE_BYTES = 4096
PROGRESS_MESSAGE_BYTES = 500


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of a divided run this is."""

    index: int
    """0 is the first."""
    count: int


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The facts of one attempt, given by the scheduler. Instants are aware UTC."""

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
    worker: str = ""
    """The name of the worker process."""
    started_at: datetime | None = None
    shard: Shard | None = None
    """Set in the shards of a divided run."""
    divide_into: int | None = None
    """The job divides the run into so many shards."""

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts at one slot; send it to systems that can deduplicate."""
        # A backfill or a replay repeats the work of a slot on purpose, so its key is another one.
        # The shards of a slot have one each.
        if self.job_id is None or self.logical_time is not None or self.shard is not None:
            return f"execution:{self.execution_id}"
        slot = self.scheduled_time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return f"{self.job_id}:{slot}"

    @property
    def fencing_token(self) -> int:
        """Rises with each attempt; another system can refuse a token lower than one it has seen."""
        return self.attempt


class Sink(Protocol):
    """Receives the log and the progress of a run, from any thread. Must not block or raise."""

    def log(self, level: str, message: str) -> None:
        """`level`: DEBUG, INFO, WARNING or ERROR; `message`: storable, at most 4 KiB."""

    def progress(self, percent: float | None, message: str) -> None:
        """`percent`: 0 to 100, None when unknown; `message`: storable, at most 500 bytes."""


class RunLog:
    """The log of one run, used like a logger: `log.info("%s rows", n)`. Never raises."""

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
        """Like error(), with the traceback of the exception that is being handled."""
        self._write("ERROR", message, args, tail="\n" + traceback.format_exc().rstrip())

    def _write(
        self, level: str, message: object, args: tuple[object, ...], *, tail: str = ""
    ) -> None:
        text = text_of(message)
        try:
            # A single mapping fills named placeholders, as in the standard library's logging.
            values: Any = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
            text = text % values if args else text
        except Exception as exc:  # noqa: BLE001 - a mistake in a log line must not fail the job
            text = f"{text} (could not be formatted: {type(exc).__name__})"
        self._sink.log(level, storable_text(text + tail, LOG_MESSAGE_BYTES))


class HandlerContext:
    """One attempt as its handler sees it: its facts, its log, its progress, its time left."""

    def __init__(
        self,
        info: RunInfo,
        sink: Sink,
        monotonic: Callable[[], float],
        hooks: RunHooks | None = None,
    ) -> None:
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
        self.shard = info.shard
        self.log = RunLog(sink)
        self._sink = sink
        self._monotonic = monotonic
        self._deadline = monotonic() + info.timeout_seconds
        self._stop = False
        self.hooks = hooks or RunHooks()
        # Threads and processes that the run starts carry it; see thread_tracking.py.
        self.mark_of_execution = f"{self.hooks.installation}:{info.execution_id}:"
        self.mark = f"{self.mark_of_execution}{info.attempt}:{uuid.uuid4().hex}"
        # Tasks and calls in threads that the run started; task_tracking.py keeps them up to date.
        self.tasks: set[Task[Any]] = set()
        self.thread_calls: set[Future[Any]] = set()

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts at this slot; see RunInfo."""
        return self.info.idempotency_key

    @property
    def fencing_token(self) -> int:
        """Rises with each attempt at this slot; see RunInfo."""
        return self.info.fencing_token

    def progress(self, percent: float | None, message: str = "") -> None:
        """Report how far the run is. Never raises.

        `percent` is limited to 0..100. None, and what is no number, means unknown.
        """
        self._sink.progress(
            _percent(percent), storable_text(text_of(message), PROGRESS_MESSAGE_BYTES)
        )

    def seconds_left(self) -> float:
        """Returns the seconds until the timeout; 0 after it."""
        return max(0.0, self._deadline - self._monotonic())

    @property
    def stop_requested(self) -> bool:
        """True after a cancellation or timeout: code in a thread should return."""
        return self._stop

    def request_stop(self) -> None:
        """Tell code in threads that its run is over; the runner calls it."""
        self._stop = True


def _percent(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a mistake in a report must not fail the job
        return None
    return None if math.isnan(number) else min(100.0, max(0.0, number))


running: ContextVar[HandlerContext] = ContextVar("jobu_running")


def current() -> HandlerContext:
    """Returns the context of the run that this code belongs to; RuntimeError outside of a run.

    Tasks and `asyncio.to_thread` inherit it. In a `threading.Thread` use `self.context` instead.
    """
    try:
        return running.get()
    except LookupError:
        raise RuntimeError("current() was called outside of a running handler") from None
