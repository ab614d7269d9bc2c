"""Parses what a person types at a command line: jobs by name or id, params, instants, spans."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.timezone import get_current_timezone, is_naive
from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from handlers import InvalidParamsError
from handlers.params import checked_mapping
from scheduler.models import LARGEST_ID, CronJob
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.operations.masking import MASK, left_masked, unmask
from scheduler.operations.param_words import bad_params
from scheduler.operations.validation import instant_problem

_NAMES_COMPARED: Final = 2000
_SPAN: Final = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|d|w)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


# --- jobs ----------------------------------------------------------------------------------------


def job_named(text: str) -> CronJob:
    """Returns the job with this name or id. `id:7` and `name:7` choose if both exist.

    Raises NotPossible if there is no such job, or if the text fits two.
    """
    by_name = CronJob.objects.filter(name=text).first()
    by_id = _job_of_id(text)
    if by_name and by_id and by_name.pk != by_id.pk:
        raise NotPossible(
            _("%(text)s is the name of one job and the id of another: write name:%(text)s"
              " or id:%(text)s") % {"text": text}
        )  # fmt: skip
    kind, colon, rest = text.partition(":")
    if colon and not by_name:
        by_name = CronJob.objects.filter(name=rest).first() if kind == "name" else None
        by_id = _job_of_id(rest) if kind == "id" else None
    found = by_name or by_id
    if found is None:
        raise NotPossible(_("there is no job %(text)s%(hint)s") % {
            "text": repr(text), "hint": _near(text)
        })  # fmt: skip
    return found


def _job_of_id(text: str) -> CronJob | None:
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > LARGEST_ID:
        return None
    return CronJob.objects.filter(pk=int(text)).first()


def _near(text: str) -> str:
    names = list(CronJob.objects.values_list("name", flat=True)[:_NAMES_COMPARED])
    near = nearest(text, names)
    return _(", did you mean %(name)s?") % {"name": repr(near)} if near else ""


# --- params --------------------------------------------------------------------------------------


def add_params(parser: CommandParser) -> None:
    parser.add_argument(
        "--params",
        metavar="JSON",
        help=_("a JSON object, or @FILE, or @- for standard input"),
    )
    parser.add_argument(
        "--param",
        action="append",
        metavar="KEY=VALUE",
        help=_("one of them; VALUE is JSON, or else a text. Lies over --params, or over what the"
               " job has"),
    )  # fmt: skip


def params_of(options: Mapping[str, Any], stored: object) -> dict[str, Any] | None:
    """Returns the params from --params and --param. None: neither was given. Raises InvalidJob.

    --param changes single values of `stored`, or of --params if that was given too. A mask that was
    copied from the output of a command is replaced by the value in `stored`.
    """
    text, pairs = options.get("params"), options.get("param")
    if text is None and not pairs:
        return None
    if not isinstance(stored, Mapping):
        stored = {}  # SQL may have written a value that is no object
    found = dict(stored) if text is None else _json_object(text)
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidJob({"param": [_("%(pair)s is not KEY=VALUE") % {"pair": repr(key)}]})
        found[key] = _json_or_text(value)
    try:
        checked_mapping(found)  # refuses a value that is nested too deeply for the code below
    except InvalidParamsError as error:
        raise InvalidJob({"params": [bad_params(error)]}) from error
    found = dict(unmask(found, stored))
    masked = list(left_masked(found))
    if masked:
        raise InvalidJob({"params": [
            _("%(places)s: %(mask)s only stands for a stored value; give the value itself")
            % {"places": ", ".join(masked), "mask": MASK}
        ]})  # fmt: skip
    return found


def rules_of(options: Mapping[str, Any], stored: object) -> dict[str, Any] | None:
    """Returns the rules of alerts with what --alert changes. None: it was not given. InvalidJob."""
    if not options.get("alert"):
        return None
    found = dict(stored) if isinstance(stored, Mapping) else {}
    for pair in options["alert"]:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidJob({"alert": [_("%(pair)s is not RULE=VALUE") % {"pair": repr(key)}]})
        if value:
            found[key] = _json_or_text(value)
        else:
            found.pop(key, None)
    return dict(unmask(found, stored))


def _json_object(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        text = _text_of_file(text[1:])
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidJob({"params": [
            _("not JSON: %(problem)s at line %(line)s, column %(column)s")
            % {"problem": error.msg, "line": error.lineno, "column": error.colno}
        ]}) from error  # fmt: skip
    except (RecursionError, ValueError) as error:  # ValueError: a number with thousands of digits
        raise InvalidJob({"params": [_("not JSON that can be stored")]}) from error
    if not isinstance(found, dict):
        raise InvalidJob({"params": [_('must be a JSON object, such as {"id": 1}')]})
    return found


def _text_of_file(name: str) -> str:
    path = Path("/dev/stdin" if name == "-" else name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or _("it is not UTF-8 text")
        raise InvalidJob({"params": [
            _("the file %(name)s cannot be read: %(reason)s") % {"name": name, "reason": reason}
        ]}) from error  # fmt: skip


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=str)
    except (RecursionError, ValueError):
        return value


# --- instants ------------------------------------------------------------------------------------


def add_despite_freeze(parser: CommandParser) -> None:
    parser.add_argument(
        "--despite-freeze",
        action="store_true",
        help=_("an emergency: start it although a freeze holds"),
    )


def instant_of(text: str, field: str, now: datetime) -> datetime:
    """Parses `2026-01-31`, `2026-01-31 18:00` (also with an offset), `now`, `2h ago`, `in 30m`.

    An instant without an offset is in the configured zone. Raises InvalidJob for `field`.
    """
    found = _instant_of(text, field, now)
    problem = instant_problem(found)
    if problem:
        raise InvalidJob({field: [problem]})
    return found


def _instant_of(text: str, field: str, now: datetime) -> datetime:
    words = text.strip().lower()
    if words == "now":
        return now
    if words.endswith(" ago"):
        return now - timedelta(seconds=seconds_of(words.removesuffix(" ago"), field))
    if words.startswith("in "):
        return now + timedelta(seconds=seconds_of(words.removeprefix("in "), field))
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidJob({field: [
            _("%(text)s is no time; right is 2026-01-31, 2026-01-31T18:00, 2026-01-31T18:00+09:00,"
              " now, or '2h ago'") % {"text": repr(text)}
        ]}) from None  # fmt: skip
    return _in_zone(found, field) if is_naive(found) else found


def _in_zone(naive: datetime, field: str) -> datetime:
    zone = get_current_timezone()
    first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise InvalidJob({field: [
            _("in %(zone)s the clocks change then; give the offset as well, such as +01:00")
            % {"zone": str(zone)}
        ]})  # fmt: skip
    return first


def seconds_of(text: str, field: str) -> int:
    """Parses `90`, `90s`, `15m`, `2h`, `1d` or `1w`. Raises InvalidJob for `field`."""
    match = _SPAN.fullmatch(f"{text.strip()}s" if text.strip().isascii() and
                            text.strip().isdecimal() else text.strip())  # fmt: skip
    if match is None:
        raise InvalidJob({field: [
            _("%(text)s is no span of time; right is 90s, 15m, 2h, 1d") % {"text": repr(text)}
        ]})  # fmt: skip
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds > 100 * 366 * 86400:
        raise InvalidJob({field: [_("is more than a hundred years")]})
    return seconds


# --- numbers -------------------------------------------------------------------------------------


#: What is written for no number.
NONE: Final = "none"


def whole(low: int, high: int, *, or_none: bool = False) -> Any:
    """Returns an argparse type that accepts a whole number from `low` to `high`, or NONE."""

    def read(text: str) -> int | str:
        if or_none and text.strip().lower() == NONE:
            return NONE
        if not re.fullmatch(r"-?[0-9]{1,20}", text, re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                _("%(text)s is not a whole number from %(low)s to %(high)s")
                % {"text": repr(text), "low": low, "high": high}
            )
        return int(text)

    return read


ID = whole(1, LARGEST_ID)


def span_type(text: str) -> int:
    """An argparse type that returns the seconds of a span, such as 90s or 15m."""
    try:
        return seconds_of(text, "span")
    except InvalidJob as error:
        raise argparse.ArgumentTypeError(" ".join(error.problems["span"])) from error


def add_ids(parser: CommandParser, many: bool = True) -> None:
    if many:
        parser.add_argument("ids", nargs="+", type=ID, metavar="ID")
    else:
        parser.add_argument("id", type=ID, metavar="ID")


def add_limit(parser: CommandParser) -> None:
    parser.add_argument(
        "--limit", type=whole(1, 1000), default=50, help=_("at most so many (50), up to 1000")
    )


def without_doubles(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
