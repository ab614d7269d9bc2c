"""The closed sets of words: states of an execution and their transitions, policies, reasons.

Plain values, and the only place with literals of them. The CHECK constraints of the tables, the
choices in the admin and the diagram in the documentation come from here or are tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RunStatus(StrEnum):
    PENDING = "PENDING"  # waits for a claim, from `available_at` on
    RUNNING = "RUNNING"  # a worker holds the lease; `lease_expires_at` says until when
    FANNED_OUT = "FANNED_OUT"  # its shards, runs of their own, go on; the last one ends it
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"  # by a person, or for a newer run under overlap policy `replace`
    SKIPPED = "SKIPPED"  # never ran, because of the misfire or the overlap policy


FINAL = frozenset(
    {
        RunStatus.SUCCESS,
        RunStatus.FAILED,
        RunStatus.TIMEOUT,
        RunStatus.CANCELLED,
        RunStatus.SKIPPED,
    }
)
UNFINISHED = frozenset(RunStatus) - FINAL
# It has begun: a worker runs it, or its shards go on.
GOING_ON = frozenset({RunStatus.RUNNING, RunStatus.FANNED_OUT})
# A person may retry these: they become PENDING again.
RETRYABLE = FINAL - {RunStatus.SUCCESS}

# None: the execution does not exist yet.
TRANSITIONS: Mapping[RunStatus | None, frozenset[RunStatus]] = {
    None: frozenset({RunStatus.PENDING, RunStatus.SKIPPED}),
    RunStatus.PENDING: frozenset(
        {
            RunStatus.RUNNING,
            RunStatus.CANCELLED,
            RunStatus.SKIPPED,
            RunStatus.FAILED,
        }
    ),
    # RUNNING -> PENDING: retry after a back-off, rescue of a lost worker's run, hand-back on drain.
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.SUCCESS,
            RunStatus.FAILED,
            RunStatus.TIMEOUT,
            RunStatus.CANCELLED,
            RunStatus.PENDING,
            RunStatus.FANNED_OUT,
        }
    ),
    RunStatus.FANNED_OUT: frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.SUCCESS: frozenset(),
    **{status: frozenset({RunStatus.PENDING}) for status in RETRYABLE},
}


class AttemptOutcome(StrEnum):
    """How one attempt ended. LOST: its lease ran out. RELEASED: it was handed back, uncharged."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    RELEASED = "RELEASED"


class ReasonCode(StrEnum):
    """Why an execution is what it is: skipped, held, cancelled, failed, or to be tried again.

    Stored as `reason_code` beside the text in `error_message`. Programs read the code, people read
    the text. In brackets: the keys of `reason_facts`.
    """

    # SKIPPED by beat [first, last, count; a count of null: more than beat counts]
    MISFIRE = "misfire"  # missed slots that the misfire policy does not run [policy, max_catchup]
    # missed slots of a job that was off or was edited [decided_by; cause (SkipCause), by]
    MISSED = "missed"
    SHADOW = "shadow"  # a slot of a shadow: another system runs it []
    FROZEN = "frozen"  # a freeze blocks the slot [freeze, freeze_id, note]
    FROZEN_HELD = "frozen_held"  # PENDING until the freeze ends, which the slot was the last of

    AWAITS_APPROVAL = "awaits_approval"  # PENDING until a person has decided [until]
    NOT_APPROVED = "not_approved"  # SKIPPED: nobody approved it in time [until]
    REJECTED = "rejected"  # SKIPPED: a person did not want it [by, note]

    # the overlap policy
    OVERLAP_RUNNING = "overlap_running"  # SKIPPED: another run of the job goes on [running]
    OVERLAP_WAITING = "overlap_waiting"  # SKIPPED: another run waits already [waiting]
    OVERLAP_NEWER = "overlap_newer"  # SKIPPED or CANCELLED: a newer run takes its place [newer]
    OVERLAP_HELD = "overlap_held"  # PENDING until another run of the job ends [running]
    REPLACED = "replaced"  # CANCELLED while it ran: a newer run takes its place [newer]

    # PENDING under the limits of a job or a group [group, per_key, key_is]
    LIMIT_REACHED = "limit_reached"  # until another run ends [limit, running]
    RATE_REACHED = "rate_reached"  # until `available_at` [limit, seconds]
    # dependencies
    UPSTREAM_AWAITED = "upstream_awaited"  # PENDING until its upstream jobs have succeeded [until]
    # SKIPPED: they have not succeeded in time [seconds, upstreams: job, slot, state, execution]
    UPSTREAM_MISSING = "upstream_missing"

    # CANCELLED by a person
    CANCELLED_BY_PERSON = "cancelled_by_person"  # [by, note; nothing where SQL asked for it]
    BACKFILL_CANCELLED = "backfill_cancelled"  # [backfill]

    # CANCELLED by a claim
    JOB_DELETED = "job_deleted"  # its job is gone; only SQL leaves such a run
    PARENT_ENDED = "parent_ended"  # a shard that waited; its parent ended without it [parent]

    # a run with shards
    SHARDS_FAILED = "shards_failed"  # FAILED [count, failed, missing; first: execution]
    SHARDS_CANCELLED = "shards_cancelled"  # CANCELLED: shards of it were [count, cancelled]
    WAITS_FOR_PARENT = "waits_for_parent"  # a PENDING shard: until its parent begins again []

    # a failed attempt; the run is final, or PENDING for its next attempt
    HANDLER_FAILED = "handler_failed"
    HANDLER_NOT_FOUND = "handler_not_found"
    INVALID_PARAMS = "invalid_params"
    DATABASE_NOT_CONFIGURED = "database_not_configured"
    TIMEOUT = "timeout"  # [timeout_seconds; worker, if the worker did not end it]
    WORKER_LOST = "worker_lost"  # [worker]
    INVALID_SHARDS = "invalid_shards"  # what plan() returned is no list of params, or too long
    OUTCOME_NOT_STORED = "outcome_not_stored"  # the database refused what the handler produced

    # PENDING again without a failure
    WORKER_DRAINED = "worker_drained"  # the worker was shut down, or drained by a person
    PROCESS_ENDED = "process_ended"  # a run that could not be stopped ended the process [culprit]


class WaitsFor(StrEnum):
    """What a PENDING run waits for, for people. The rule that decides it: store/waiting.py."""

    WORKER = "worker"  # its time has come
    LIMIT = "limit"  # a place under a limit of its job or group
    OVERLAP = "overlap"  # the end of another run that it must not overlap
    APPROVAL = "approval"
    UPSTREAM = "upstream"  # its upstream jobs
    FREEZE = "freeze"  # the end of a freeze
    TIME = "time"  # its own time: a retry that backs off, a jitter, a run that was asked for later


class SkipCause(StrEnum):
    """What left out the missed slots of a job that was off or was edited."""

    PAUSE = "pause"  # they came during a pause that has ended by itself
    ENABLING = "enabling"  # a person has enabled the job and did not want them
    EDIT = "edit"  # a person has changed the schedule


class SlotCode(StrEnum):
    """What became of an instant of a job, or will. In brackets: what the answer says of it."""

    RAN = "ran"  # it has begun, and may have ended [execution, status]
    WAITS = "waits"  # its execution waits for a worker [execution]
    NOT_BEGUN = "not_begun"  # its execution ended before any attempt [execution, status]
    SKIPPED = "skipped"  # [execution, reason]
    OVERLAP = "overlap"  # skipped by the overlap policy [execution, reason]
    SHADOW = "shadow"  # another system runs the slot [execution]
    FROZEN = "frozen"  # a freeze blocks it [execution, reason]
    MISSED_IN_SPAN = "missed_in_span"  # one row counts several slots [execution, first, last]
    PAUSED = "paused"  # the job was paused or disabled [since, until, by, reason]
    CALENDAR = "calendar"  # its calendar leaves it out or moves it [calendar, moved_to]
    IN_GAP = "in_gap"  # the clock skipped this time [the clock; what ran instead]
    NOT_A_SLOT = "not_a_slot"  # [before, after]
    OUTSIDE = "outside"  # before `start_at` or after `end_at` [since, until]
    BEFORE_JOB = "before_job"  # the job was made later [since, by]
    NO_SCHEDULE = "no_schedule"  # the schedule cannot be used [reason]
    PRUNED = "pruned"  # older than what is kept [since]
    NOT_YET = "not_yet"  # [starts_at, obstacles]
    OVERDUE = "overdue"  # no beat has recorded it yet
    NO_RECORD = "no_record"  # a slot of the past without a row


class UpstreamState(StrEnum):
    """Why an upstream job has not succeeded for a slot. Else it is the status of its run."""

    NO_RUN = "no_run"  # no run was made for the slot, or it has been deleted
    DISABLED = "disabled"
    PAUSED = "paused"
    DELETED = "deleted"


class SlotObstacle(StrEnum):
    """What will stand in the way of a slot, as things are now."""

    DISABLED = "disabled"
    PAUSED = "paused"
    SHADOW = "shadow"
    NO_HANDLER = "no_handler"
    QUEUE_PAUSED = "queue_paused"
    FROZEN = "frozen"  # a freeze will hold then


class JudgedBy(StrEnum):
    """Which schedule says whether an instant was a slot."""

    HISTORY = "history"  # the one of that time
    TODAY = "today"  # today's: the history does not know the one of that time


class OverlapPolicy(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    REPLACE = "replace"


class PlaceState(StrEnum):
    """What a run has of a limit's places."""

    WAITS = "WAITS"  # in line until somebody lets it go on
    NEXT = "NEXT"  # it was let go on, and keeps the place for a while
    STARTED = "STARTED"  # its attempt goes on
    ENDED = "ENDED"  # kept as long as a rate counts its start


class MisfirePolicy(StrEnum):
    LATEST = "latest"
    ALL = "all"
    SKIP = "skip"


class BlockedSlots(StrEnum):
    """What becomes of the slots that a freeze blocks."""

    SKIP = "skip"  # none of them runs
    LATEST = "latest"  # the last one runs when the freeze ends


class ParamSource(StrEnum):
    CRON = "cron"
    MANUAL = "manual"
    EVENT = "event"
    BACKFILL = "backfill"


class BackfillOrder(StrEnum):
    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"


class BackfillState(StrEnum):
    ACTIVE = "active"  # beat makes its runs
    PAUSED = "paused"
    CANCELLED = "cancelled"  # by a person
    DONE = "done"  # each slot has its run; some runs may not have ended yet


#: A backfill in one of these makes no further runs.
ENDED_BACKFILLS = (BackfillState.CANCELLED, BackfillState.DONE)


class ApprovalState(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"  # nobody has decided in time


class ProcessKind(StrEnum):
    BEAT = "beat"
    WORKER = "worker"


class JobState(StrEnum):
    """What a job is, for people. The rule that decides it: scheduler/models/job_state.py."""

    ENABLED = "enabled"
    PAUSED = "paused"  # off, with a reason or until an instant
    ERROR = "error"  # off, because its schedule cannot be used
    DISABLED = "disabled"  # off for any other reason


class Door(StrEnum):
    """The way by which somebody asked for a change."""

    ADMIN = "admin"
    API = "api"
    COMMAND = "command"
    BEAT = "beat"
    SYSTEM = "system"  # code that names nobody


class ActivityVerb(StrEnum):
    """What somebody did. Readers of `jobu_activity` compare these codes, never words."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    CLONED = "cloned"
    ENABLED = "enabled"
    DISABLED = "disabled"
    PAUSED = "paused"
    RESUMED = "resumed"
    RUN = "run"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RETRIED_RANGE = "retried_range"
    BULK = "bulk"  # the same action on many rows; each row has its entry as well
    REPLAYED = "replayed"
    EVENT = "event"
    SHADOWED = "shadowed"  # its slots are recorded and do not run
    UNSHADOWED = "unshadowed"
    SWITCHED = "switched"  # from the system that ran it before to here, or back
    STARTED = "started"
    REVOKED = "revoked"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    UNSNOOZED = "unsnoozed"
    CLOSED = "closed"
    TESTED = "tested"
    SEEN = "seen"  # a kind of failure
    ENDED = "ended"  # a freeze, before its time
    APPROVED = "approved"
    REJECTED = "rejected"
    DRAINED = "drained"  # a worker: it takes no more runs


class TargetKind(StrEnum):
    """What an entry of `jobu_activity` is about."""

    JOB = "job"
    EXECUTION = "execution"
    BACKFILL = "backfill"
    TOKEN = "token"
    ALERT = "alert"
    QUEUE = "queue"  # it has a name and no row
    WORKER = "worker"  # by its name
    CHANNEL = "channel"  # of alerts, by its name
    FAILURE = "failure"  # a kind of failures
    GROUP = "group"  # of jobs with limits, by its name
    FREEZE = "freeze"


class SwitchDirection(StrEnum):
    """Who runs a job from now on: jobu, or again the system that it was imported from."""

    HERE = "here"
    BACK = "back"


class SwitchState(StrEnum):
    """How far a switch has come. In each state what comes next can be done twice."""

    STARTED = "started"  # to here; nothing is written there
    ASKED = "asked"  # the old system was asked to write down its last run
    READ = "read"  # its last run is kept here; it is on there, or already off
    OFF_THERE = "off_there"  # off there, and not on here yet
    OFF_HERE = "off_here"  # back; off here, and not known to be on there
    DONE = "done"


class OldSide(StrEnum):
    """Who writes into the old system: jobu, or a person, who says when it is done."""

    WRITTEN = "written"
    BY_HAND = "by_hand"
