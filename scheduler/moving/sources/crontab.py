"""A crontab: of a user (`crontab:`), or of the system, with a column for the user."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.conf import current
from scheduler.moving.commands import HANDLER, params_of_line, short_name
from scheduler.moving.cron_fields import ALIASES, Dialect, UnreadableField, read_rule, unreadable
from scheduler.moving.entries import (
    Entry,
    Finding,
    Options,
    Reason,
    UnreadableSource,
    differs,
    impossible,
)
from scheduler.moving.mapping_rules import columns_of_rule
from scheduler.moving.names import is_zone
from scheduler.moving.walking import Walker
from scheduler.schedule import ScheduleError, parse

_ENV: Final = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z_]\w*))\s*=\s*(.*?)\s*""", re.ASCII)
# What cron reads itself. The rest is the environment of the commands.
_CRONS_OWN: Final = ("MAILTO", "MAILFROM", "CRON_TZ", "SHELL", "CONTENT_TYPE", "RANDOM_DELAY")
_LONGEST_TIMEOUT_SECONDS: Final = 86_400
#: What names a line in `cron_jobs.source`, without the number that twin_lines.py gives.
_MARK: Final = re.compile(r":([0-9a-f]{8})(?:-\d+)?$")


@dataclass
class _State:
    """What the lines so far have set."""

    env: dict[str, str] = field(default_factory=dict)
    wanted: frozenset[str] | None = None


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the lines of a user's crontab."""
    return _read(Path(where), options, has_user=False)


def read_system(where: str, options: Options) -> Iterator[Entry]:
    """Yields the lines of /etc/crontab or a file of /etc/cron.d."""
    return _read(Path(where), options, has_user=True)


def _read(path: Path, options: Options, *, has_user: bool) -> Iterator[Entry]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        facts = {"path": path, "error": error.strerror}
        raise UnreadableSource(_("%(path)s cannot be read: %(error)s") % facts) from error
    state = _State(wanted=_marks_of(options.sources))
    for number, raw in enumerate(lines, start=1):
        where = f"line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            yield _unreadable(path, where, f"no UTF-8 at byte {error.start + 1}")
            continue
        if not line or line.startswith("#"):
            continue
        if setting := _ENV.fullmatch(line):
            state.env[setting[1] or setting[2] or setting[3]] = _unquoted(setting[4])
            continue
        entry = _entry(path, where, line, state, options, has_user=has_user)
        if entry is not None:
            yield entry


def _marks_of(sources: frozenset[str] | None) -> frozenset[str] | None:
    """Returns the marks of the lines that somebody wants. None: all of them."""
    found = [_MARK.search(source) for source in sources or ()]
    if sources is None or None in found:
        return None  # the source of a long path ends in a digest of it
    return frozenset(match[1] for match in found if match)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _unreadable(path: Path, where: str, problem: str) -> Entry:
    return Entry(
        key=f"{path.absolute()}:{where}",
        name=where,
        where=where,
        findings=[impossible(Reason.UNREADABLE, problem=problem)],
    )


def _entry(
    path: Path, where: str, line: str, state: _State, options: Options, *, has_user: bool
) -> Entry | None:
    """None: nobody wants it."""
    count = (1 if line.startswith("@") else 5) + has_user
    parts = line.split(None, count)
    if len(parts) <= count:
        return _unreadable(path, where, f"{len(parts)} fields, at least {count + 1} are needed")
    user = parts[count - 1] if has_user else ""
    schedule = " ".join(parts[: count - has_user])
    # Not the schedule: a line whose times are edited stays the same entry. twin_lines.py tells
    # lines with the same command apart.
    mark = hashlib.sha256(f"{user}\0{parts[count]}".encode()).hexdigest()[:8]
    key = f"{path.absolute()}:{mark}"
    if state.wanted is not None and mark not in state.wanted:
        return None
    command, stdin = _split_at_percent(parts[count])
    env = {name: value for name, value in state.env.items() if name not in _CRONS_OWN}
    params = params_of_line(command, env=env, shell=state.env.get("SHELL", "/bin/sh"), stdin=stdin)
    facts: dict[str, Any] = {
        "key": key,
        "name": f"{short_name(params)} {mark}",
        "where": where,
    }
    # The command stands in the params alone: whoever may not see params must not see it either.
    handler = options.handlers.get(short_name(params))
    values = {
        "handler_name": handler or HANDLER,
        "handler_params": {} if handler else params,
        "max_retry": 0,
        "misfire_policy": "skip",
        "timeout_seconds": _LONGEST_TIMEOUT_SECONDS,
    }
    findings = _findings(state, user)
    if schedule.lower() == "@reboot":
        return Entry(**facts, values=values, findings=[impossible(Reason.REBOOT), *findings])
    try:
        zone, of_zone = _zone(state, options)
        rule = read_rule(schedule, zone, Dialect.CRON)
    except UnreadableField as error:
        return Entry(**facts, findings=[unreadable(error, Dialect.CRON)])
    columns, more, nearest = columns_of_rule(rule, kept=_kept(schedule))
    text = ALIASES.get(schedule.lower(), schedule).split()
    return Entry(
        **facts,
        values=values | columns,
        findings=[*of_zone, *findings, *more],
        nearest=nearest,
        rule=rule,
        old=Walker(
            rule=rule,
            dialect=Dialect.CRON,
            interval_like=text[0].startswith("*") or text[1].startswith("*"),
        ),
    )


def _split_at_percent(text: str) -> tuple[str, str]:
    r"""The command, and what stands behind the first `%`: its input. `\%` is a percent sign.

    A backslash escapes what follows it, another backslash, too, and stays unless that is a `%`.
    """
    parts = [""]
    for piece in re.findall(r"\\.|\\$|%|[^\\%]+", text, re.DOTALL):
        if piece == "%":
            parts.append("")
        else:
            parts[-1] += "%" if piece == "\\%" else piece
    stdin = "\n".join(parts[1:])
    return parts[0], stdin if not stdin or stdin.endswith("\n") else f"{stdin}\n"


def _findings(state: _State, user: str) -> list[Finding]:
    found = []
    if address := state.env.get("MAILTO"):
        found.append(differs(Reason.MAIL, address=address))
    if user:
        found.append(differs(Reason.USER, user=user))
    if delay := state.env.get("RANDOM_DELAY"):
        found.append(differs(Reason.RANDOM_DELAY, minutes=delay))
    return found


def _zone(state: _State, options: Options) -> tuple[str, list[Finding]]:
    named = state.env.get("CRON_TZ", "")
    if is_zone(named):
        return named, []
    if named:
        raise UnreadableField(f"CRON_TZ={named}")
    zone = options.timezone or current().default_timezone
    return zone, [] if options.timezone else [differs(Reason.ZONE, zone=zone)]


def _kept(schedule: str) -> str:
    """The text itself, where jobu reads it: the dialect is the same."""
    try:
        parse(schedule, "UTC")
    except ScheduleError:
        return ""
    return schedule
