"""The admin: the pages where people look and act. Every change goes through Control.

One folder or module per page: jobs, executions, backfills, dashboard, processes, tokens,
preferences, accounts (Django's own users and groups in the theme). No page imports another.

What pages share:
actions: pages that ask and then act. explain, formatting, liveness: how a state is described.
listing, filters: lists over large tables. live: pages that update themselves.
params_field, job_name_field, suggesting_input: form fields.
unfold_compat: the only file that imports the theme.
"""

from scheduler.admin import (  # noqa: F401 - they register themselves
    accounts,
    preferences,
    processes,
    tokens,
)
from scheduler.admin.backfills import admin as _backfills  # noqa: F401
from scheduler.admin.executions import admin as _executions  # noqa: F401
from scheduler.admin.jobs import admin as _jobs  # noqa: F401
