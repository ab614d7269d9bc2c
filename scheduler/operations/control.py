"""The operations on jobs and executions in one object, for the doors."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.operations.actor import Actor
from scheduler.operations.errors import InvalidJob, NotPossible, StaleEdit
from scheduler.operations.executions import ExecutionOperations
from scheduler.operations.jobs import RunMissed
from scheduler.operations.missed import Missed
from scheduler.operations.retrying import RETRY_LIMIT
from scheduler.operations.shadows import ShadowOperations
from scheduler.operations.versions import VersionOperations
from scheduler.store.executions import FailedRange

__all__ = [
    "RETRY_LIMIT",
    "Actor",
    "Control",
    "FailedRange",
    "InvalidJob",
    "Missed",
    "NotPossible",
    "RunMissed",
    "StaleEdit",
]


@dataclass(frozen=True, kw_only=True)
class Control(VersionOperations, ShadowOperations, ExecutionOperations):
    """All operations on jobs and executions, for one actor."""
