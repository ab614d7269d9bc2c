"""`manage.py preview EXPRESSION`: what an expression means and when it fires next."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand
from scheduler.models import CronJob
from scheduler.schedule import schedule_of
from scheduler.schedule.warnings import warnings_about
from scheduler.schedule.words_of_kinds import words_of


class Command(JobuCommand):
    help = "When a cron expression fires, in its time zone and in UTC, and what it says in words."
    about = staticmethod(
        lambda: _("When a cron expression fires, in its time zone and in UTC, and what it says.")
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("expression", metavar="EXPRESSION", help=_("in quotes: '0 9 * * MON'"))
        parser.add_argument(
            "--name",
            default="",
            metavar="NAME",
            help=_("of the job; an H in the expression needs it"),
        )
        parser.add_argument("--timezone", default="", metavar="ZONE")
        parser.add_argument("--calendar", default="", metavar="NAME")
        parser.add_argument(
            "--upstreams", default="", metavar="NAME,NAME", help=_("with @after: the upstream jobs")
        )
        parser.add_argument("--count", type=inputs.whole(1, 1000), default=10, metavar="N")

    def act(self, options: dict[str, Any]) -> int:
        settings = self.control.settings
        zone = options["timezone"] or settings.default_timezone
        job = CronJob(
            name=options["name"],
            cron_expression=options["expression"],
            timezone=options["timezone"],
            calendar=options["calendar"],
        )
        job.upstreams = [each.strip() for each in options["upstreams"].split(",") if each.strip()]
        slots = self.control.preview(job, options["count"])
        in_words = words_of(job)
        schedule = schedule_of(job, settings)
        warnings = [
            *warnings_about(job, schedule, slots, self.control.clock.now()),
            *self._problems(job),
        ]
        local = [slot.astimezone(ZoneInfo(zone)) for slot in slots]
        if self.printer.as_json:
            self.printer.document(
                {
                    "cron_expression": options["expression"],
                    "timezone": zone,
                    "calendar": options["calendar"],
                    "words": in_words,
                    "warnings": warnings,
                    "slots": [
                        {
                            "utc": slot,
                            "local": there.isoformat(),
                            "moved_from": (day := schedule.moved_from(slot)) and day.isoformat(),
                        }
                        for slot, there in zip(slots, local, strict=True)
                    ],
                }
            )
            return 0
        self.printer.line(in_words)
        for text in warnings:
            self.printer.note(_("warning: %(text)s") % {"text": text})
        self.printer.table(
            (zone, "UTC"),
            [
                (there.strftime("%a %Y-%m-%d %H:%M:%S %Z"), slot.astimezone(UTC).isoformat(" "))
                for slot, there in zip(slots, local, strict=True)
            ],
        )
        return 0

    def _problems(self, job: CronJob) -> list[str]:
        """Returns the problems for which a job with this expression could not be saved."""
        problems = self.control.problems(job)
        columns = ("cron_expression", "timezone", "calendar", "upstreams")
        return [text for name in columns for text in problems.get(name, ())]
