"""The Celery app: `celery -A jobu_project worker` and `celery -A jobu_project beat`."""

from __future__ import annotations

import logging.config
import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from jobu_project import brokers
from jobu_project.config import ConfigError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobu_project.settings")

# Skip Django's system checks in Celery. They would import the URLs, admin forms and API schemas in
# every beat and worker, which takes a third of the start time, and Celery ignores their result.
# scheduler.checks.refuse_to_start runs the checks that must stop a start.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

brokers.register()

app = Celery("jobu")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Without this, Celery closes every database connection before and after each task. jobu checks its
# connections itself: each claim closes those that are broken or old (scheduler/worker/process.py).
app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000_000
app.autodiscover_tasks()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logging(**_: Any) -> None:
    """Makes beat and worker log like the web.

    If this signal has a receiver, Celery does not configure logging.
    """
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


def _is_celery_command() -> bool:
    """Returns True if this process was started by `celery` or `python -m celery`."""
    program = Path(sys.argv[0])
    return "celery" in (program.stem, program.parent.name)


if _is_celery_command():
    from django.conf import settings

    from jobu_project import own_apps

    try:
        settings.LOGGING  # noqa: B018 - the first access reads all settings
        own_apps.refuse_mistakes()
    except ConfigError as error:
        # Print the list of mistakes without a traceback, for the person who edited the file.
        sys.exit(str(error))
    if "flower" in sys.argv[1:]:
        # Flower does not send the signal, and would set up the root logger in another style.
        _configure_logging()
        from jobu_project import flower_links, flower_login

        flower_login.install()
        flower_links.install(settings.JOBU.alerts.link_base)
