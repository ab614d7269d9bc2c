"""Every page of the admin, with an address that shows something. For checks and for pictures.

tests/browser/test_page_list.py fails for a page that is missing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Page:
    """`address` may name a row of the site, such as `{job}`: `Rows`. `about`: for docs/pages.md.

    Without `about` the page has no picture: it looks like another one.
    """

    name: str
    address: str
    about: str = ""


_ADMIN: Final = "/admin/"
_JOBS: Final = "/admin/scheduler/cronjob/"
_JOB: Final = f"{_JOBS}{{job}}/"
_RUNS: Final = "/admin/scheduler/jobexecution/"
_RUN: Final = f"{_RUNS}{{run}}/"
_BACKFILLS: Final = "/admin/scheduler/backfill/"
_ALERTS: Final = "/admin/scheduler/alert/"
_TOKENS: Final = "/admin/scheduler/apitoken/"
_PROCESSES: Final = "/admin/scheduler/schedulerprocess/"
_USERS: Final = "/admin/auth/user/"
_GROUPS: Final = "/admin/auth/group/"


def _page(name: str, address: str, about: str = "") -> Page:
    return Page(name=name, address=address, about=about)


PAGES: Final = (
    _page(
        "dashboard",
        _ADMIN,
        "What is wrong, what runs and waits, the last 24 hours and the next 24.",
    ),
    _page("app", "/admin/scheduler/"),
    # --- jobs
    _page(
        "jobs",
        _JOBS,
        "All jobs: state, next run, last outcomes and durations. The search also takes a time, "
        "such as `report 03:00 yesterday`.",
    ),
    _page(
        "job",
        f"{_JOB}overview/",
        "One job: its state and why, its next slots, its last 100 runs.",
    ),
    _page(
        "job-definition",
        f"{_JOB}change/",
        "The definition of a job. The schedule is checked while it is typed.",
    ),
    _page("job-add", f"{_JOBS}add/", "A new job."),
    _page("job-history", f"{_JOB}history/", "Who changed what, and every version to go back to."),
    _page("job-slot", f"{_JOB}slot/?at=03:00", "Why a job ran, or did not run, at some time."),
    _page(
        "job-compare",
        f"{_JOB}compare/?run={{run}}&run={{other_run}}",
        "Two runs of a job side by side.",
    ),
    _page("job-frozen", f"{_JOBS}{{frozen_job}}/overview/"),
    _page(
        "job-upstreams",
        f"{_JOBS}{{awaiting_job}}/overview/",
        "A job that waits for others: the chain of jobs before and after it.",
    ),
    _page("job-restore", f"{_JOB}restore/{{entry}}/", "An older version, before it is restored."),
    _page("job-run", f"{_JOB}run/", "Run now, with other parameters."),
    _page("job-pause", f"{_JOB}pause/", "A pause, with its reason and its end."),
    _page(
        "job-resume",
        f"{_JOBS}{{paused}}/resume/",
        "The end of a pause, and what becomes of the slots that were missed.",
    ),
    _page("job-enable", f"{_JOBS}{{paused}}/enable/"),
    _page("job-disable", f"{_JOB}disable/"),
    _page("job-clone", f"{_JOB}clone/"),
    _page("job-delete", f"{_JOB}delete/"),
    _page(
        "shadows",
        f"{_JOBS}shadows/",
        "Jobs that do not run here yet: their slots are compared with the old system's.",
    ),
    _page("shadow-beside", f"{_JOBS}{{shadow}}/beside/", "What a shadow would have run."),
    _page("shadow-compare", f"{_JOBS}{{shadow}}/old-system/", "Its slots beside the old system's."),
    _page("shadow-switch", f"{_JOBS}{{shadow}}/switch/", "The switch from the old system to jobu."),
    _page("shadow-switch-back", f"{_JOBS}{{shadow}}/switch-back/"),
    # --- executions
    _page("executions", _RUNS, "Runs, with filters, search, bulk actions and export."),
    _page(
        "execution",
        f"{_RUN}change/",
        "One run: what happened, its parameters and result, its attempts and its log.",
    ),
    _page(
        "execution-divided",
        f"{_RUNS}{{divided}}/change/",
        "A run that is divided: how far its shards are.",
    ),
    _page(
        "execution-in-line",
        f"{_RUNS}{{in_line}}/change/",
        "A run that waits for a place under a limit.",
    ),
    _page("execution-awaiting", f"{_RUNS}{{awaiting}}/change/"),
    _page("execution-frozen", f"{_RUNS}{{frozen}}/change/"),
    _page(
        "execution-unapproved",
        f"{_RUNS}{{unapproved}}/change/",
        "A run that waits until a person approves it.",
    ),
    _page("execution-approve", f"{_RUNS}{{unapproved}}/approve/", "The approval of a run."),
    _page("execution-reject", f"{_RUNS}{{unapproved}}/reject/"),
    _page("execution-history", f"{_RUN}history/"),
    _page("execution-cancel", f"{_RUN}cancel/"),
    _page("execution-retry", f"{_RUN}retry/"),
    _page("execution-replay", f"{_RUN}replay/"),
    _page("execution-delete", f"{_RUN}delete/"),
    _page("retry-range", f"{_RUNS}retry-range/", "Retry all failed runs of a span of time."),
    _page("log-search", f"{_RUNS}search-logs/", "Search in the logs of a job's runs."),
    # --- what happened and what will
    _page("timeline", "/admin/timeline/", "What ran and what will run, job by job."),
    _page("timeline-table", "/admin/timeline/?view=table"),
    _page(
        "timeline-heat",
        "/admin/timeline/heat/",
        "How many slots fall on which minute, and how to spread them.",
    ),
    _page("failures", "/admin/failures/?state=all", "Failures by kind, with their trend."),
    _page("failure", "/admin/failures/{failure}/", "One kind of failure and its runs."),
    _page("failure-retry", "/admin/failures/{failure}/retry/"),
    _page("activity", "/admin/activity/", "Who did what."),
    # --- backfills
    _page("backfills", _BACKFILLS, "Backfills and how far they are."),
    _page("backfill-choose", f"{_BACKFILLS}add/"),
    _page("backfill-add", f"{_BACKFILLS}add/?job={{job}}", "A backfill; a dry run comes first."),
    _page("backfill", f"{_BACKFILLS}{{backfill}}/change/", "One backfill."),
    _page("backfill-history", f"{_BACKFILLS}{{backfill}}/history/"),
    _page("backfill-pause", f"{_BACKFILLS}{{backfill}}/pause/"),
    _page("backfill-resume", f"{_BACKFILLS}{{backfill}}/resume/"),
    _page("backfill-cancel", f"{_BACKFILLS}{{backfill}}/cancel/"),
    _page("backfill-delete", f"{_BACKFILLS}{{backfill}}/delete/"),
    # --- freezes and limits
    _page("freezes", "/admin/freezes/", "Spans of time in which no slot starts, and which hold."),
    _page("freeze-add", "/admin/freezes/add/", "A new freeze; what it blocks comes first."),
    _page("freeze", "/admin/freezes/{freeze}/"),
    _page("limits", "/admin/limits/", "Groups of jobs with limits: what runs and waits in each."),
    _page("limit-add", "/admin/limits/change/"),
    _page("limit-change", "/admin/limits/change/?group=warehouse", "The limits of a group."),
    # --- alerts
    _page("alerts", _ALERTS, "What is or was wrong, and who was told."),
    _page("alert", f"{_ALERTS}{{alert}}/change/", "One alert."),
    _page("alert-history", f"{_ALERTS}{{alert}}/history/"),
    _page("alert-acknowledge", f"{_ALERTS}{{alert}}/acknowledge/"),
    _page("alert-snooze", f"{_ALERTS}{{alert}}/snooze/"),
    _page("alert-unsnooze", f"{_ALERTS}{{alert}}/unsnooze/"),
    _page("alert-close", f"{_ALERTS}{{alert}}/close/"),
    _page("channels", "/admin/channels/", "How people are told, and a test of each channel."),
    # --- queues and workers
    _page(
        "queues", "/admin/queues/", "What waits in each queue, how fast it moves, who serves it."
    ),
    _page("queue-pause", "/admin/queues/pause/?queue=slow"),
    _page("processes", _PROCESSES, "Beats and workers, and whether they are alive."),
    _page(
        "worker",
        f"{_PROCESSES}worker/?name={{worker}}",
        "One worker: what runs on it, its queues and places, what was lost with it. Drain it here.",
    ),
    # --- people, tokens, preferences
    _page("tokens", _TOKENS, "Tokens of the API."),
    _page("token", f"{_TOKENS}{{token}}/change/"),
    _page("token-add", f"{_TOKENS}add/", "A new token."),
    _page("token-history", f"{_TOKENS}{{token}}/history/"),
    _page("token-revoke", f"{_TOKENS}{{token}}/revoke/"),
    _page("token-delete", f"{_TOKENS}{{token}}/delete/"),
    _page("preference", "/admin/scheduler/preference/", "One's own time zone and language."),
    _page("password", "/admin/password_change/"),
    _page("password-changed", "/admin/password_change/done/"),
    _page("people", "/admin/auth/"),
    _page("users", _USERS),
    _page("user", f"{_USERS}{{user}}/change/"),
    _page("user-add", f"{_USERS}add/"),
    _page("user-history", f"{_USERS}{{user}}/history/"),
    _page("user-delete", f"{_USERS}{{user}}/delete/"),
    _page("user-password", f"{_USERS}{{user}}/password/"),
    _page("groups", _GROUPS),
    _page("group", f"{_GROUPS}{{group}}/change/"),
    _page("group-add", f"{_GROUPS}add/"),
    _page("group-history", f"{_GROUPS}{{group}}/history/"),
    _page("group-delete", f"{_GROUPS}{{group}}/delete/"),
    # --- results of Celery's own
    _page("results", "/admin/django_celery_results/"),
    _page("task-results", "/admin/django_celery_results/taskresult/"),
    _page("task-result", "/admin/django_celery_results/taskresult/{result}/change/"),
    _page("group-results", "/admin/django_celery_results/groupresult/"),
)

#: Pages without an address of their own to open, by the names of their patterns. Who looks at them:
#: test_pages.py (sign-in, a bulk action on many rows, a new token).
ELSEWHERE: Final = frozenset(
    {
        "login",
        "scheduler_alert_bulk",
        "scheduler_apitoken_bulk",
        "scheduler_apitoken_made",
        "scheduler_backfill_bulk",
        "scheduler_cronjob_bulk",
        "scheduler_jobexecution_bulk",
    }
)

#: What answers scripts, files, redirects, and what only a POST reaches.
NO_PAGES: Final = frozenset(
    {
        # parts of pages, for scripts
        "autocomplete", "channels-live", "dashboard-charts", "dashboard-now", "jsi18n", "palette",
        "scheduler_backfill_live", "scheduler_cronjob_check", "scheduler_cronjob_live",
        "scheduler_cronjob_params", "scheduler_jobexecution_live", "scheduler_jobexecution_rows",
        "scheduler_schedulerprocess_live", "search", "timeline-data", "timeline-heat-map",
        # files
        "activity-csv", "failures-csv", "scheduler_cronjob_csv", "scheduler_jobexecution_csv",
        "scheduler_jobexecution_log",
        # a POST
        "channel-test", "failure-seen", "freeze-delete", "freeze-end", "group-delete", "logout",
        "queue-resume", "saved-filter-delete",
        "saved-filter-save", "scheduler_schedulerprocess_drain",
        "scheduler_schedulerprocess_undrain",
        # redirects
        "saved-filter", "scheduler_jobexecution_task", "scheduler_schedulerprocess_change",
        "view_on_site",
        # nobody may: the rows are written by jobu
        "scheduler_alert_add", "scheduler_alert_delete", "scheduler_jobexecution_add",
        "scheduler_schedulerprocess_add", "scheduler_schedulerprocess_delete",
        "scheduler_schedulerprocess_history",
        # of django-celery-results: nobody adds rows, and its other pages look as the same of ours
        "django_celery_results_groupresult_add", "django_celery_results_groupresult_change",
        "django_celery_results_groupresult_delete", "django_celery_results_groupresult_history",
        "django_celery_results_taskresult_add", "django_celery_results_taskresult_delete",
        "django_celery_results_taskresult_history",
    }
)  # fmt: skip
