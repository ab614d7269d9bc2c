"""The admin: the web pages for people. Every change goes through the operations.

One folder or module per page: jobs, executions, backfills, dashboard, processes, tokens,
preferences, accounts (Django's users and groups in the theme). No page imports another page.

Modules that the pages share:
actions: pages that ask for confirmation and then act.
explain, formatting, liveness: descriptions of a state.
listing, filters: lists over large tables.
live: pages that update themselves.
params_field, job_name_field, suggesting_input: form fields.
unfold_compat: the only file that imports the theme.
"""

from scheduler.admin import (  # noqa: F401 - importing registers them
    accounts,
    preferences,
    processes,
    tokens,
)
from scheduler.admin.backfills import admin as _backfills  # noqa: F401
from scheduler.admin.executions import admin as _executions  # noqa: F401
from scheduler.admin.jobs import admin as _jobs  # noqa: F401
