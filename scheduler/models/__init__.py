"""The tables. jobs: what runs when. executions: what became of it. guards: which run of a job goes
on, places under limits, groups of jobs with limits. backfills: runs for the slots of a range.
processes: beats and workers. alerts: what people are told, and what they were told. check_ins: what
is reported of attempts. access: tokens of the API, failed sign-ins, people's preferences and
filters. activity: who did what. approvals: runs that a person approves before they start. applied:
what files of jobs have set. counters: how many runs have ended. queue_pauses: queues from which
nothing is taken. freezes: times in which no slot starts. failures: failed runs by their kind.
switches: jobs on their way between jobu and the system that they were imported from. waits: for
which upstream jobs a run waits.

Columns have database defaults, so that a plain INSERT from any SQL client makes a working job.
docs/architecture.md says what each column means and who writes it. All writes of executions go
through scheduler/store.
"""

from scheduler.models.access import ApiToken, Preference, SavedFilter, SignInFailures
from scheduler.models.activity import Activity
from scheduler.models.alerts import Alert, AlertCursor, AlertMessage
from scheduler.models.applied import AppliedJob
from scheduler.models.approvals import RunApproval
from scheduler.models.backfills import Backfill
from scheduler.models.check_ins import CheckInJob, CheckInPing
from scheduler.models.counters import ALL_JOBS, CountedEnds, Counting, JobCounters
from scheduler.models.executions import JobAttempt, JobExecution, JobLog
from scheduler.models.failures import NO_JOB, FailedRun, FailureDay, FailureGroup
from scheduler.models.fields import UtcNow
from scheduler.models.freezes import JobFreeze
from scheduler.models.guards import GROUP_LIMITS, ConcurrencyGroup, JobGuard, JobPlace
from scheduler.models.ids import LARGEST_ID, bounded_id
from scheduler.models.jobs import (
    EDITABLE,
    INSTANTS,
    LIMITS,
    LISTS,
    SEARCHED,
    CronJob,
    JobTag,
    JobUpstream,
)
from scheduler.models.processes import SchedulerProcess
from scheduler.models.queue_pauses import QueuePause
from scheduler.models.slot_of_run import (
    SLOT_OF_RUN,
    SlotOfRun,
    has_slot,
    in_slots,
    slot_of_run,
    with_slot,
)
from scheduler.models.switches import JobSwitch
from scheduler.models.waits import JobWait

__all__ = [
    "ALL_JOBS",
    "EDITABLE",
    "GROUP_LIMITS",
    "INSTANTS",
    "LARGEST_ID",
    "LIMITS",
    "LISTS",
    "NO_JOB",
    "SEARCHED",
    "SLOT_OF_RUN",
    "Activity",
    "Alert",
    "AlertCursor",
    "AlertMessage",
    "ApiToken",
    "AppliedJob",
    "Backfill",
    "CheckInJob",
    "CheckInPing",
    "ConcurrencyGroup",
    "CountedEnds",
    "Counting",
    "CronJob",
    "FailedRun",
    "FailureDay",
    "FailureGroup",
    "JobAttempt",
    "JobCounters",
    "JobExecution",
    "JobFreeze",
    "JobGuard",
    "JobLog",
    "JobPlace",
    "JobSwitch",
    "JobTag",
    "JobUpstream",
    "JobWait",
    "Preference",
    "QueuePause",
    "RunApproval",
    "SavedFilter",
    "SchedulerProcess",
    "SignInFailures",
    "SlotOfRun",
    "UtcNow",
    "bounded_id",
    "has_slot",
    "in_slots",
    "slot_of_run",
    "with_slot",
]
