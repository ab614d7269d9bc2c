"""The admin: the web pages for people. Every change goes through the operations.

One folder or module per page: jobs, executions, failures, activity, backfills, dashboard, palette,
processes, tokens, preferences, accounts (Django's users and groups in the theme). No page imports
another page. `pages` imports them all.

Modules that the pages share:
actions: pages that ask for confirmation and then act.
explain, formatting, liveness: descriptions of a state.
listing, filters, page_filters: lists over large tables, those of Django and others.
csv_export, csv_list: lists as files. saved_filters: filters that people keep.
live: pages that update themselves.
params_field, job_name_field, suggesting_input: form fields.
site: where the pages are. theme, personal: what jobu's own site does by itself.
unfold_compat: the only file that imports the theme.
"""

from scheduler.conf import current

# Django imports this package when it looks for pages for the project's site. jobu's own site has
# its pages when `scheduler.urls` is imported, and the project needs no theme before that.
if current().admin_site == "project":
    from scheduler.admin import pages  # noqa: F401
