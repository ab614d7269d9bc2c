"""`manage.py jobs slot NAME AT`: was there a run then, and if not, why?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.timezone import get_current_timezone_name

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.output import exact
from scheduler.operations.asked_time import read_time
from scheduler.operations.slot_answer import answer_asked
from scheduler.operations.slot_words import sentences


def answer(command: JobuCommand, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    now = command.control.clock.now()
    zone = ZoneInfo(get_current_timezone_name())
    asked = read_time(" ".join(options["at"]), now=now, zone=zone)
    found = answer_asked(job, asked, now=now, settings=command.control.settings)
    texts = sentences(found, exact)
    if command.printer.as_json:
        command.printer.document(
            {"name": job.name, **asdict(found), "is_calm": found.is_calm, "text": " ".join(texts)}
        )
        return 0
    for text in texts:
        command.printer.line(text)
    return 0
