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

# Celery's Django fixup would load the web's URLs, admin forms and API schemas into every beat and
# worker, a third of their start, for checks whose answers it throws away. What must stop a start is
# looked at by scheduler.checks.refuse_to_start.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

brokers.register()

app = Celery("jobu")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup would otherwise close every database connection around every task. Ours are
# checked, and closed when broken or old, at the start of each claim (scheduler/worker/process.py).
app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000_000
app.autodiscover_tasks()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _our_logging(**_: Any) -> None:
    """Celery leaves logging alone when this signal has a receiver; beat and worker log as the web
    does.
    """
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


def _is_celerys_command() -> bool:
    """`celery` or `python -m celery`."""
    program = Path(sys.argv[0])
    return "celery" in (program.stem, program.parent.name)


if _is_celerys_command():
    from django.conf import settings

    try:
        settings.LOGGING  # noqa: B018 - whatever is asked first reads them all
    except ConfigError as error:
        # For the person who edited the file: the list of mistakes, not a traceback.
        sys.exit(str(error))
    if "flower" in sys.argv[1:]:
        # It sends no such signal, and would give the root logger a look of its own.
        _our_logging()
