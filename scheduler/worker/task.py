"""The one Celery task of jobu: a wake-up. Of what it carries only the instant of a slot is read."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task

from scheduler.conf import TASK_NAME
from scheduler.wakeup_messages import slot_of
from scheduler.worker import lifecycle

logger = logging.getLogger(__name__)

# Limits of the project, such as `--time-limit 300`, would end a child in the middle of a run. None
# and 0 would mean "as configured".
_NO_LIMIT_SECONDS = 2_000_000


class WakeUp(Task):  # type: ignore[misc]
    """Never seen by events, results and time limits of the project."""

    abstract = True
    Request = "scheduler.worker.run_requests:WakeUpRequest"
    send_events = False
    ignore_result = True
    acks_late = False
    max_retries = 0
    soft_time_limit = _NO_LIMIT_SECONDS
    time_limit = _NO_LIMIT_SECONDS + 1

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Callable[..., None]:
        """Called by a worker when it begins to consume. Returns what it calls with each message.

        A process that fetches in a thread is poked here and now, so that a wake-up never waits for
        a place in the pool. Prefork: it goes to a child, with contents of our own.
        """
        to_pool = super().start_strategy(app, consumer, **kwargs)

        def wake(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
            if lifecycle.fetches_in_thread():
                # First what somebody waits for: to acknowledge takes a turn of the broker.
                lifecycle.poke(slot_of(message.headers))
                ack(logger, consumer.connection_errors)
                return
            message.headers = {
                "lang": "py",
                "task": self.name,
                "id": str(uuid.uuid4()),
                "argsrepr": "()",
                "kwargsrepr": "{}",
            }
            message.body = b"[[], {}, {}]"
            message.content_type, message.content_encoding = "application/json", "utf-8"
            message._decoded_cache = None
            to_pool(message, None, ack, reject, callbacks)

        return wake


@shared_task(name=TASK_NAME, base=WakeUp)  # type: ignore[untyped-decorator]
def work(*_: Any, **__: Any) -> None:
    """Run what there is. Accepts any arguments, because anybody may send the message."""
    lifecycle.work()
