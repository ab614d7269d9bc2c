"""`manage.py probe`: says in one line and by its exit code (0 or 1) whether jobu works."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.output import span
from scheduler.operations import health
from scheduler.operations.liveness import (
    STALE_AFTER,
    ClockState,
    Liveness,
    alive_processes,
    liveness,
)
from scheduler.states import ProcessKind

_MOST = 10_000_000


class Command(JobuCommand):
    help = "Is jobu at work? Exit code 0 or 1, and one line that says why."
    about = staticmethod(
        lambda: _(
            "Is jobu at work? Exit code 0, or 1 with what is wrong. Looks at the database, and at"
            " what beats and workers write there; a limit of 0 is not looked at."
        )
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        seconds = inputs.whole(0, _MOST)
        parser.add_argument(
            "--max-beat-age", type=seconds, default=STALE_AFTER.seconds, metavar="S",
            help=_("seconds since a beat ticked last (30)"),
        )  # fmt: skip
        parser.add_argument(
            "--max-waiting-age", type=seconds, metavar="S", default=600,
            help=_("seconds that a run may wait for a worker (600)"),
        )  # fmt: skip
        parser.add_argument(
            "--min-workers", type=seconds, default=1, metavar="N",
            help=_("workers that must be alive (1)"),
        )  # fmt: skip
        parser.add_argument(
            "--broker", action="store_true", help=_("must let us connect, too")
        )  # fmt: skip
        parser.add_argument(
            "--here",
            choices=[each.value for each in ProcessKind],
            help=_("one of this host must be alive, and nothing else is looked at: for a"
                   " container that is to be restarted alone"),
        )  # fmt: skip

    def act(self, options: dict[str, Any]) -> int:
        found: Liveness | None = None
        problem = health.check_database()
        problems = [_("the database: %(problem)s") % {"problem": problem}] if problem else []
        if not problems:
            now = self.control.clock.now()
            if options["here"]:
                problems += _here(options["here"], now)
            else:
                found = liveness(now)
                problems += _problems(found, options)
        if options["broker"] and (problem := health.check_broker()):
            problems.append(_("the broker: %(problem)s") % {"problem": problem})
        if self.printer.as_json:
            facts = asdict(found) if found else {}
            self.printer.document({"ok": not problems, "problems": problems, **facts})
        elif problems:
            self.printer.line(_("FAILED: %(problems)s") % {"problems": "; ".join(problems)})
        else:
            self.printer.line(_("OK: %(summary)s") % {"summary": _summary(found, options)})
        return 1 if problems else 0


def _problems(found: Liveness, options: dict[str, Any]) -> Iterator[str]:
    if limit := options["max_beat_age"]:
        if found.beat_age_seconds is None:
            yield _("no beat has ever ticked, or all have ended")
        elif found.beat_age_seconds > limit:
            facts = {"age": span(found.beat_age_seconds), "limit": span(limit)}
            yield _("the last beat ticked %(age)s ago, more than %(limit)s") % facts
    if found.clock == ClockState.BEHIND:
        facts = {"seconds": f"{found.clock_behind_seconds:.0f}"}
        yield _("the database's clock stands %(seconds)s s before its latest time") % facts
    elif found.clock == ClockState.DIFFERS:
        facts = {"seconds": f"{found.clock_offset_seconds:+.0f}"}
        yield _("the database's clock differs by %(seconds)s s from this host's") % facts
    late = found.oldest_waiting_seconds
    limit = options["max_waiting_age"]
    if limit and late is not None and late > limit:
        facts = {"age": span(late), "limit": span(limit)}
        yield _("a run has waited %(age)s for a worker, more than %(limit)s") % facts
    if found.workers_alive < options["min_workers"]:
        counts = {"count": found.workers_alive, "least": options["min_workers"]}
        yield _("%(count)s workers are alive, fewer than %(least)s") % counts


def _here(kind: str, now: datetime) -> Iterator[str]:
    host = socket.gethostname()
    if not alive_processes(now).filter(kind=kind, host=host).exists():
        facts = {"kind": kind, "host": host}
        yield _("no %(kind)s of this host (%(host)s) is alive") % facts


def _summary(found: Liveness | None, options: dict[str, Any]) -> str:
    if found is None:
        return _("a %(kind)s of this host is alive") % {"kind": options["here"]}
    return _(
        "a beat ticked %(beat)s ago; alive: %(beats)s beats, %(workers)s workers; "
        "%(pending)s runs wait, %(running)s run; the oldest one has waited %(late)s"
    ) % {
        "beat": span(found.beat_age_seconds),
        "beats": found.beats_alive,
        "workers": found.workers_alive,
        "pending": found.pending,
        "running": found.running,
        "late": span(found.oldest_waiting_seconds),
    }
