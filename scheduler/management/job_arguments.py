"""The options of `manage.py jobs`, and what was typed, as the columns of a job.

The columns come from the model: a new one has its option at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandParser
from django.db import models
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import add_yes
from scheduler.management.waiting import add_wait
from scheduler.models import EDITABLE, LIMITS, LISTS, CronJob
from scheduler.states import JobState

NO_INSTANT: Final = ("", "none")

# These have options of their own, under other names or with their own rules.
_BY_HAND: Final = {
    "name", "cron_expression", "handler_name", "handler_params", "alert_rules", "is_enabled",
    "pause_reason", "paused_until",
}  # fmt: skip
_COLUMNS: Final = [
    column
    for column in CronJob._meta.concrete_fields
    if column.name in EDITABLE and column.name not in _BY_HAND
]
_INSTANTS: Final = [column.name for column in _COLUMNS if isinstance(column, models.DateTimeField)]


def of_one(parser: CommandParser) -> None:
    parser.add_argument("job", metavar="JOB", help=_("its name or id"))


def of_many(parser: CommandParser) -> None:
    parser.add_argument("jobs", nargs="+", metavar="JOB", help=_("names or ids"))


def of_list(parser: CommandParser) -> None:
    parser.add_argument(
        "--search",
        metavar="TEXT",
        help=_("a part of the name, handler, description, owner or a tag"),
    )
    parser.add_argument("--handler", metavar="NAME")
    parser.add_argument("--state", choices=[each.value for each in JobState])
    parser.add_argument("--after", metavar="NAME", help=_("go on behind this name"))
    inputs.add_limit(parser)


def of_create(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--cron", required=True, metavar="EXPRESSION", dest="cron_expression")
    parser.add_argument("--handler", required=True, metavar="NAME", dest="handler_name")
    parser.add_argument("--disabled", action="store_true", help=_("do not switch it on yet"))
    _settings(parser)


def of_update(parser: CommandParser) -> None:
    of_one(parser)
    parser.add_argument("--name", metavar="NAME", help=_("a new name"))
    parser.add_argument("--cron", metavar="EXPRESSION", dest="cron_expression")
    parser.add_argument("--handler", metavar="NAME", dest="handler_name")
    _settings(parser)


def _settings(parser: CommandParser) -> None:
    inputs.add_params(parser)
    parser.add_argument(
        "--alert",
        action="append",
        metavar="RULE=VALUE",
        help=_("a rule of its alerts, such as failed=true; VALUE is JSON, or else a text; without"
               " VALUE the rule is as its tags and the settings say"),
    )  # fmt: skip
    for column in _COLUMNS:
        if isinstance(column, models.IntegerField):
            low, high = LIMITS[column.name]
            how: dict[str, Any] = {
                "metavar": "N",
                "type": inputs.whole(low, high, or_none=column.null),
                "help": f"{low} ... {high}" + (f" | {inputs.NONE}" if column.null else ""),
            }
        elif isinstance(column, models.DateTimeField):
            how = {"metavar": "TIME", "help": _("or none")}
        elif column.choices:
            how = {"choices": [value for value, _label in column.flatchoices]}
        else:
            how = {"metavar": "TEXT"}
        parser.add_argument(_option(column.name), dest=column.name, **how)
    for name in LISTS:
        parser.add_argument(_option(name), dest=name, metavar="TEXT,TEXT", help=_("'': none"))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def of_enable(parser: CommandParser) -> None:
    of_many(parser)
    parser.add_argument(
        "--missed",
        choices=("none", "latest", "all"),
        default="none",
        help=_("which of the slots that they missed while off are run now (none)"),
    )


def of_pause(parser: CommandParser) -> None:
    of_many(parser)
    parser.add_argument("--reason", default="", metavar="TEXT")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--until", metavar="TIME", help=_("come back by itself then"))
    when.add_argument("--for", dest="span", metavar="SPAN", help=_("such as 30m, 2h or 1d"))


def of_run(parser: CommandParser) -> None:
    of_many(parser)
    inputs.add_params(parser)
    add_wait(parser)


def of_clone(parser: CommandParser) -> None:
    of_one(parser)
    parser.add_argument("--name", required=True, metavar="NAME")


def of_shadow(parser: CommandParser) -> None:
    of_one(parser)
    parser.add_argument("what", choices=("on", "off"))


def of_switch(parser: CommandParser) -> None:
    parser.add_argument("job", nargs="?", metavar="JOB", help=_("the name or the id of a job"))
    parser.add_argument("--back", action="store_true", help=_("let the old system run it again"))
    parser.add_argument(
        "--resume", action="store_true", help=_("go on with all switches that have not ended")
    )
    parser.add_argument(
        "--old-side",
        choices=("ask", "written", "by-hand"),
        default="ask",
        help=_(
            "ask: says what to do there, and asks whether it is done; by-hand: it is done there;"
            " written: jobu writes into the old system"
        ),
    )
    parser.add_argument(
        "--source", default="", metavar="KIND:URL", help=_("where the old system is written")
    )


def of_slot(parser: CommandParser) -> None:
    of_one(parser)
    parser.add_argument(
        "at",
        nargs="+",
        metavar="AT",
        help=_("such as 2026-11-27 03:00, 'yesterday 03:00', 03:00 Europe/Berlin"),
    )


def of_restore(parser: CommandParser) -> None:
    of_one(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--at", metavar="TIME", help=_("as it was then, such as '1d ago'"))
    which.add_argument(
        "--entry", type=inputs.ID, metavar="ID", help=_("as an entry of `history --job` left it")
    )
    parser.add_argument("--dry-run", action="store_true", help=_("only show what would change"))


def of_delete(parser: CommandParser) -> None:
    of_many(parser)
    add_yes(parser)


def given_values(
    options: Mapping[str, Any], *, stored: object, stored_rules: object, now: datetime
) -> dict[str, Any]:
    """Returns the columns that were named. Raises InvalidJob.

    `stored`, `stored_rules`: the params and the rules of alerts that the job has.
    """
    names = ["name", "cron_expression", "handler_name", *(column.name for column in _COLUMNS)]
    found = {
        name: options[name]
        for name in names
        if name not in _INSTANTS and options.get(name) is not None
    }
    for column in _COLUMNS:
        if column.null and found.get(column.name) == inputs.NONE:
            found[column.name] = None
    for name in _INSTANTS:
        if (text := options.get(name)) is not None:
            is_none = text.strip().lower() in NO_INSTANT
            found[name] = None if is_none else inputs.instant_of(text, name, now)
    for name in LISTS:
        if (text := options.get(name)) is not None:
            found[name] = [part.strip() for part in text.split(",") if part.strip()]
    params = inputs.params_of(options, stored)
    if params is not None:
        found["handler_params"] = params
    rules = inputs.rules_of(options, stored_rules)
    if rules is not None:
        found["alert_rules"] = rules
    return found
