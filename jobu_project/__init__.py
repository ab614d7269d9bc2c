"""Puts the parts of jobu together: configuration, Django settings, the Celery app, URLs.

No other package reads YAML files or environment variables.
"""

import sys

# The doctor finds what hides our other packages. To import them would fail before it says so.
if sys.orig_argv[-3:] != ["-m", "jobu_project", "doctor"]:
    from jobu_project.celery import app as celery_app

    __all__ = ["celery_app"]
