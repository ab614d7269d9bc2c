"""What a worker process owns, and what is left when it could not be made."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dbpools import ConfigurationError
from scheduler.worker.process import WorkerProcess


def test_a_process_that_cannot_be_made_leaves_no_loop_behind(settings: Any) -> None:
    settings.JOBU = settings.JOBU.model_copy(update={"databases": {"default": {"type": "oracle"}}})
    before = set(threading.enumerate())

    with pytest.raises(ConfigurationError, match="oracle"):
        WorkerProcess(
            "worker@here:1", is_child=False, places=1, queues=list, wake_others=lambda queues: None
        )

    assert set(threading.enumerate()) <= before
