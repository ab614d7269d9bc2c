"""Who may do what: the one table for the admin, the API and the matrix in the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from scheduler.states import TargetKind


class Action(StrEnum):
    VIEW_JOBS = "see jobs"
    ADD_JOB = "create a job"
    CHANGE_JOB = "change a job"
    DELETE_JOB = "delete a job"
    RUN_JOB = "run a job now, and backfill it"
    PAUSE_JOB = "pause, disable and enable a job"
    VIEW_EXECUTIONS = "see executions"
    SEND_EVENT = "send an event"
    CANCEL_EXECUTION = "cancel an execution"
    RETRY_EXECUTION = "retry an execution"
    DELETE_EXECUTION = "delete an execution"
    VIEW_PARAMS = "see parameters and results"
    VIEW_PROCESSES = "see beats and workers"
    PAUSE_QUEUE = "pause and resume a queue"
    CHANGE_LIMITS = "change the limits of a group"
    CHANGE_FREEZE = "create, change, end and delete a freeze"
    RUN_IN_FREEZE = "let runs start in spite of a freeze"
    APPROVE_EXECUTION = "approve and reject runs that wait for it"
    DRAIN_WORKER = "drain a worker, and let it take runs again"
    VIEW_ALERTS = "see alerts, and over which channels people are told"
    CHANGE_ALERT = "acknowledge, snooze and close an alert, and try a channel"


# One of the permissions is enough. A user who may change a job may also run and pause it, because a
# change of its expression has the same effect.
NEEDED: Mapping[Action, tuple[str, ...]] = {
    Action.VIEW_JOBS: ("scheduler.view_cronjob", "scheduler.change_cronjob"),
    Action.ADD_JOB: ("scheduler.add_cronjob",),
    Action.CHANGE_JOB: ("scheduler.change_cronjob",),
    Action.DELETE_JOB: ("scheduler.delete_cronjob",),
    Action.RUN_JOB: ("scheduler.run_cronjob", "scheduler.change_cronjob"),
    Action.PAUSE_JOB: ("scheduler.pause_cronjob", "scheduler.change_cronjob"),
    Action.VIEW_EXECUTIONS: ("scheduler.view_jobexecution", "scheduler.change_jobexecution"),
    Action.SEND_EVENT: ("scheduler.add_jobexecution",),
    Action.CANCEL_EXECUTION: ("scheduler.cancel_jobexecution", "scheduler.change_jobexecution"),
    Action.RETRY_EXECUTION: ("scheduler.retry_jobexecution", "scheduler.change_jobexecution"),
    Action.DELETE_EXECUTION: ("scheduler.delete_jobexecution",),
    Action.VIEW_PARAMS: ("scheduler.view_params", "scheduler.change_cronjob"),
    Action.VIEW_PROCESSES: ("scheduler.view_schedulerprocess",),
    Action.PAUSE_QUEUE: ("scheduler.pause_queue",),
    Action.CHANGE_LIMITS: ("scheduler.change_concurrencygroup",),
    Action.CHANGE_FREEZE: ("scheduler.change_jobfreeze",),
    Action.RUN_IN_FREEZE: ("scheduler.run_in_freeze",),
    Action.APPROVE_EXECUTION: ("scheduler.approve_execution",),
    Action.DRAIN_WORKER: ("scheduler.drain_schedulerprocess",),
    Action.VIEW_ALERTS: ("scheduler.view_alert", "scheduler.change_alert"),
    Action.CHANGE_ALERT: ("scheduler.change_alert",),
}

# The scope that a token needs (ApiToken.SCOPES), besides the permissions of its user.
SCOPE: Mapping[Action, str] = {
    Action.VIEW_JOBS: "read",
    Action.ADD_JOB: "write",
    Action.CHANGE_JOB: "write",
    Action.DELETE_JOB: "write",
    Action.RUN_JOB: "operate",
    Action.PAUSE_JOB: "operate",
    Action.VIEW_EXECUTIONS: "read",
    Action.SEND_EVENT: "operate",
    Action.CANCEL_EXECUTION: "operate",
    Action.RETRY_EXECUTION: "operate",
    Action.DELETE_EXECUTION: "write",
    Action.VIEW_PARAMS: "read",
    Action.VIEW_PROCESSES: "read",
    Action.PAUSE_QUEUE: "operate",
    Action.CHANGE_LIMITS: "operate",
    Action.CHANGE_FREEZE: "operate",
    Action.RUN_IN_FREEZE: "operate",
    Action.APPROVE_EXECUTION: "operate",
    Action.DRAIN_WORKER: "operate",
    Action.VIEW_ALERTS: "read",
    Action.CHANGE_ALERT: "operate",
}


# Who may see a row may also see its history. Tokens are not here: people see those of their own.
SEES_HISTORY_OF: Mapping[TargetKind, Action] = {
    TargetKind.JOB: Action.VIEW_JOBS,
    TargetKind.BACKFILL: Action.VIEW_JOBS,
    TargetKind.EXECUTION: Action.VIEW_EXECUTIONS,
    TargetKind.FAILURE: Action.VIEW_EXECUTIONS,
    TargetKind.ALERT: Action.VIEW_ALERTS,
    TargetKind.CHANNEL: Action.VIEW_ALERTS,
    TargetKind.FREEZE: Action.VIEW_JOBS,
    TargetKind.QUEUE: Action.VIEW_PROCESSES,
    TargetKind.GROUP: Action.VIEW_JOBS,
    TargetKind.WORKER: Action.VIEW_PROCESSES,
}


class _Person(Protocol):
    @property
    def is_active(self) -> bool: ...

    def has_perm(self, perm: str) -> bool: ...


def may(person: _Person, action: Action) -> bool:
    """Returns whether this user may do it. Superusers may do everything, inactive users nothing."""
    return person.is_active and any(person.has_perm(name) for name in NEEDED[action])
