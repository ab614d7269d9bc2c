"""States of alerts, of their messages, and of check-ins. Stored as texts."""

from __future__ import annotations

from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert is about. In brackets: the keys of its `facts`."""

    # a job, by its rules (scheduler/alert_settings.py)
    FAILED = "failed"  # a run failed for good [error, reason_code, status, attempts]
    FAILED_IN_A_ROW = "failed_in_a_row"  # [the same; runs]
    NOT_STARTED = "not_started"  # a run waits long after its slot [seconds, scheduled_time]
    TOO_LONG = "too_long"  # a run goes on [seconds, limit_seconds, p95_seconds]
    SWITCHED_OFF = "switched_off"  # by an error of its schedule [error]
    MISSED = "missed"  # slots that beat found too late and did not run [first, last, count]
    SKIPPED = "skipped"  # a slot did not run [reason_code and its facts]

    AWAITS_APPROVAL = "awaits_approval"  # a run waits for a person [seconds]

    # the scheduler itself
    NO_BEAT = "no_beat"  # no beat ticks [seconds, beats]
    NO_WORKER = "no_worker"  # work waits in a queue that no living worker serves [seconds, queue]
    CLAIMING_STANDS = "claiming_stands"  # ... that living workers do not claim [the same]
    PUBLISHING_STANDS = "publishing_stands"  # the broker takes no messages [seconds]
    CLOCK = "clock"  # the database's clock differs, stands still or has jumped [state, seconds]
    RETENTION_BEHIND = "retention_behind"  # old executions are not deleted [days, oldest]
    DISK = "disk"  # the disk of the SQLite file is nearly full [free_bytes, free_percent]
    DATABASE = "database"  # does not answer; told directly, and no row says so [error]
    SWITCH_STANDS = "switch_stands"  # a job may be off here and in its old system [seconds, job]


#: Alerts about jobs that end with the next success of the job.
CLOSED_BY_SUCCESS = (
    AlertKind.FAILED,
    AlertKind.FAILED_IN_A_ROW,
    AlertKind.MISSED,
    AlertKind.SKIPPED,
)
#: Alerts about the scheduler itself. They have no job, and quiet hours do not hold them back.
WATCHERS = frozenset(
    {
        AlertKind.NO_BEAT,
        AlertKind.NO_WORKER,
        AlertKind.CLAIMING_STANDS,
        AlertKind.PUBLISHING_STANDS,
        AlertKind.CLOCK,
        AlertKind.RETENTION_BEHIND,
        AlertKind.DISK,
        AlertKind.DATABASE,
        AlertKind.SWITCH_STANDS,
    }
)


class AlertState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"  # somebody works on it
    SNOOZED = "snoozed"  # nobody is told of it until `snoozed_until`
    CLOSED = "closed"


class AlertEnd(StrEnum):
    """Why an alert is closed."""

    RECOVERED = "recovered"  # a later run succeeded
    CONDITION_GONE = "condition_gone"
    BY_PERSON = "by_person"
    JOB_DELETED = "job_deleted"


class AlertEvent(StrEnum):
    """What a message tells of an alert."""

    OPENED = "opened"
    REMINDED = "reminded"  # it is still open when its snooze ends
    CLOSED = "closed"
    TEST = "test"  # a person tries a channel; there is no alert
    DIGEST = "digest"  # one message instead of many


class MessageState(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"  # its last try failed
    DROPPED = "dropped"  # nobody needs it any more, or a digest tells it


class CheckInPhase(StrEnum):
    """What a service that watches for silence is told of an attempt."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"
