"""The admin: where people look and act. Every change goes through scheduler/operations/control.py.

jobs, executions, backfills, processes: one ModelAdmin each, accounts: Django's own in the theme.
preferences: one's own time zone and language; tokens: one's own keys to the API.
verbs: pages that ask and then do; job_verbs, execution_verbs, backfill_verbs: what they do.
job_form, job_name, params, params_form, masking: typing a job or its name, secrets hidden.
job_checks, job_preview: what is said while one types; job_strip: what was.
listing, filters: lists over large tables.
show, story, liveness: how things are said.
theme: the only door to the theme.
"""

from scheduler.admin import (  # noqa: F401 - they register themselves
    accounts,
    backfills,
    executions,
    jobs,
    preferences,
    processes,
    tokens,
)
