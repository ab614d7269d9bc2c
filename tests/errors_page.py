"""Makes docs/errors.md from the code: the messages with which jobu refuses, and the remedies.

python -m tests.errors_page            # writes the page; needs DJANGO_SETTINGS_MODULE
python -m tests.errors_page --check    # exit code 1 if the page differs from the code

The messages are read from the sources. The remedies are here: without one, no page is made.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import django

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "errors.md"

HEAD: Final = """\
# Messages and remedies

This page lists the messages with which jobu refuses something. `...` stands for a name or a value.
Search the page for words of your message. `python -m tests.errors_page` generates it from the code.
Most messages about a single field say themselves what is right.
[operations.md](operations.md) explains alerts and runs that failed.
"""

# The start of a message -> what to do. "" means that the message says it itself.
START: Final = {
    "...: no such directory (JOBU_CONFIG_DIR)": "set `JOBU_CONFIG_DIR` to the folder with the YAML"
    " files, or unset it",
    "JOBU_DATA_DIR: must be set": "set `JOBU_DATA_DIR` to a directory that is writable",
    "JOBU_DATA_DIR: ... is empty": "",
    "JOBU_DATA_DIR: ... cannot be made": "",
    "JOBU_DATA_DIR: ... can be neither": "",
    "JOBU_WEB_PORT and JOBU_FLOWER_PORT": "give one of them another number",
    "JOBU_FLOWER_PORT: ...": "use a number from 1 to 65535",
    "JOBU_FLOWER_PASSWORD:": "choose another password",
    "cannot write into the data directory": "",
    "the database cannot be prepared": "the rest of the message is the database's: check address,"
    " password and rights in `JOBU_DATABASE_URL`",
    "another script/server with the data directory": "",
    "cannot listen on": "stop the other process, or choose another port with the variable",
    "there is no part": "the parts are `web`, `beat`, `worker` and `flower`",
}
SCRIPTS: Final = {
    "$1 is not writable": "",
    "JOBU_PYTHON=$JOBU_PYTHON is not": "name another interpreter, or unset the variable",
    "no Python 3.11 or newer": "",
    "$1 ($version) cannot make .venv": "",
    "$1: the disk is full": "",
    "$1: $root is not writable": "",
    "$1: the package index cannot be reached": "",
    "$1: ${reason": "the message ends with the words of pip or uv",
}
REFUSED: Final = {
    "... is not paused": "nothing to do; `manage.py queues list` shows which queues are paused",
    "there is no backfill": "`manage.py backfill list` shows the ids",
    "there is no execution": "`manage.py executions list` shows the ids; beat deletes"
    " old runs after `scheduler.retention_days`",
    "there is no user": "use the name of a user who can sign in to the admin",
    "the user ... is switched off": "switch the user on in the admin, or name another",
    "there is no such row": "somebody has deleted it; list again",
    "... is the name of one job": "",
    "there is no job": "`manage.py jobs list` shows the names",
    "backfill #... is ... already": "nothing to do",
    "backfill #... is ...; cancel": "",
    "backfill #... is ..., not ...": "`manage.py backfill list` shows what state each one is in",
    "execution #... is ... already": "nothing to do",
    "execution #... does not wait for an approval": "look at its page: it is approved, rejected or"
    " over, or its job needs none",
    "the parameters have changed": "",
    "the time in which it could be approved": "retry it: it then asks for an approval again",
    "runs of this job are approved": "",
    "the freeze “...” does not hold now": "`manage.py freezes list` shows which hold",
    "there is no kind of failures": "`manage.py failures list --state all` shows the ids",
    "there is no freeze": "`manage.py freezes list` shows the names",
    "execution #... is ...; only": "*replay* makes a new execution from one that succeeded",
    "execution #... is ...; cancel": "",
    "execution #... is a shard of #...": "",
    "... was revoked before": "nothing to do",
    "entry #... of the history keeps": "`manage.py history --job NAME --verb changed` shows entries"
    " that keep one",
    "the history has no version of": "the history keeps what people changed, for"
    " `scheduler.activity_retention_days`",
    "... has acknowledged it before": "nothing to do",
    "it is closed": "nothing to do; a new alert opens if it happens again",
    "it is not snoozed": "nothing to do",
    "... is drained already": "nothing to do",
    "no worker ... is alive": "the page of beats and workers shows those that are",
    "... is not drained": "nothing to do",
    "... runs here already": "nothing to do",
    "... does not run here": "`manage.py jobs show NAME` says where it is on its way",
    "somebody has switched it on there again": "switch it off there, and go on with"
    " `manage.py jobs switch --resume`",
    "... has marked it as seen already": "nothing to do; it opens again with the next failure",
    "No failed run of this kind is left": "nothing to do",
    "there is no group": "`manage.py groups list` shows the names",
    "the group ... is of the configuration": "`scheduler.concurrency_groups` in"
    " `config/scheduler.yaml`, or `settings.JOBU`; then restart beat",
    "the group ... limits jobs still": "let those jobs name another group, or none",
}
CHECKS: Final = {
    "jobu.E004": "set `CELERY_BEAT_SCHEDULER` to that name",
    "jobu.E005": "`USE_TZ = True` in the settings",
    "jobu.E007": "add it to `OPTIONS` of the database",
    "jobu.E012": "`--pool=threads` for async handlers, `--pool=prefork` for blocking ones",
    "jobu.W002": "`--pool=threads` for async handlers, `--pool=prefork` for blocking ones",
    "jobu.W021": "set the server's default to `READ COMMITTED`; the hint names the setting",
    "jobu.E040": '`INSTALLED_APPS += ["scheduler"]`',
    "jobu.E041": "correct the named option of that entry of `TASKS`",
    "jobu.E042": "give the queue another name",
    "jobu.W040": "take `django_tasks` out of `INSTALLED_APPS`, import `task` from `django.tasks`",
    "jobu.W101": "`chmod 700` that directory",
    "jobu.E020": "run the statement that the hint of the check prints",
    "jobu.W020": "[move the rows](production.md#a-database-that-cannot-store-every-text)",
}
# Two checks share a function that words it.
NOT_UTF8: Final = "The database cannot store every text."
CLASSES: Final = {
    "HandlerNotFoundError": "correct the name; `manage.py handlers list` shows all. If it is new:"
    " `worker.handler_packages` must name its package on web and workers",
    "InvalidParamsError": "correct the named fields of the job's parameters",
    "DuplicateHandlerError": "rename one of the two handlers",
    "DatabaseNotConfiguredError": "add the name to `config/database.yaml` and `worker.databases`",
    "ConfigurationError": "correct each named key of `config/database.yaml`",
    "UnknownDatabaseError": "add the database to `config/database.yaml` and to `worker.databases`",
    "QueryLoadError": "correct the .sql file at the named line",
    "WrongLoopError": "call `get_db()` inside the handler, and share no pool between loops",
    "PoolClosedError": "use a connection inside its `async with` only",
    "DatabaseUnavailableError": "check that the server is up, its address and the password",
    "ConnectionPoolExhaustedError": "raise `pool_size`, or hold connections for a shorter time",
    "QueryExecutionError": "the message is the database's: correct the statement or its values",
    "ConnectionLostError": "make the work repeatable; the next attempt uses a new connection",
    "NoTransactionError": "call it from a function with `@transactional`, in the same task",
    "ReadOnlyTransactionError": "remove `readonly=True`",
    "PartialCommitError": "compare the databases that the message names, then repeat the work",
    "CronParseError": "correct the named field of the expression ([schedules.md](schedules.md))",
    "CronNeverFiresError": "choose a day that exists, such as `L` for the last of a month",
    "CronIntervalTooShortError": "fire less often, or lower `scheduler.min_cron_interval_seconds`",
    "UnknownTimezoneError": "use an IANA name such as `Asia/Seoul`",
}
# Of a single field. Most of these messages say themselves what is right.
FIELDS: Final = {
    "Handler not found": "`manage.py handlers list` shows the names; `worker.handler_packages` must"
    " name the package of a new one, on web and workers",
    "Invalid params": "`manage.py handlers list` shows the parameters of each handler",
    "a masked value stands": "write the secret itself: a mask stands for a stored value only",
    "calendar ... is not configured": "add it to `scheduler.calendars` in `config/scheduler.yaml`",
    "rule ... is unknown": "`skip`, `next` or `previous`",
    "holidays are not known": "correct the country of that calendar in `config/scheduler.yaml`",
    "is not a field that can be set": "leave it out; jobu writes it, or there is no such field",
    "is not an ETag of this job": "send the `ETag` of `GET /api/crons/{id}` as it is",
    "contradicts If-Match": "send one of the two",
    "contradicts the header Idempotency-Key": "send one of the two",
    "is not one that this list gave": "take `next_cursor` of the page before",
    "is taken by another job": "choose another name",
    "must say its time zone": "end it with `Z` or an offset such as `+09:00`",
    "must not contain half of a surrogate pair": "correct the program that cut the text in the"
    " middle of a character",
    "never fires": "choose a day that exists, such as `L` for the last of a month",
    "two runs can be": "fire less often, or lower `scheduler.min_cron_interval_seconds`",
    "... is not a known IANA time zone": "use a name such as `Asia/Seoul`",
    "@reboot names no time": "use a service of systemd, which starts with the host",
    "... cannot be read": "[schedules.md](schedules.md) has the grammar",
    "has no slot between start and end": "widen the span, or correct the expression",
    "is in the past: this job would never run": "choose a later end, or none",
}
# The codes of the API, with their remedies.
API: Final = {
    "BAD_REQUEST": "correct the request line and the headers",
    "INVALID_JSON": "send one JSON value in UTF-8, without duplicate keys, NaN or lone surrogates",
    "NOT_RETRYABLE": "only runs that failed, timed out, were cancelled or skipped can be retried",
    "VALIDATION_ERROR": "correct the named `fields`; the table above has their messages",
    "UNAUTHENTICATED": "`manage.py tokens create` makes a token",
    "CSRF_FAILED": "as it says; a token needs no such header",
    "FORBIDDEN": "give the user of the token the permission ([permissions.md](permissions.md))",
    "SCOPE_MISSING": "make a token with that scope",
    "BACKFILL_NOT_FOUND": "`GET /api/backfills` lists the ids",
    "ALERT_NOT_FOUND": "`GET /api/alerts` lists the ids",
    "FAILURE_NOT_FOUND": "beat deletes kinds that did not happen for `retention_days`",
    "FREEZE_NOT_FOUND": "`GET /api/freezes` lists the ids",
    "FROZEN": "wait for the end of the freeze; in an emergency send `despite_freeze`, which needs"
    " the permission `run_in_freeze` ([schedules.md](schedules.md#freezes))",
    "CRON_NOT_FOUND": "`GET /api/crons` lists the ids",
    "HANDLER_NOT_FOUND": "`GET /api/handlers` lists the names",
    "JOB_NOT_FOUND": "`GET /api/jobs` lists the ids; old runs are deleted after"
    " `scheduler.retention_days`",
    "NOT_FOUND": "`/docs` lists the addresses",
    "METHOD_NOT_ALLOWED": "`/docs` lists the methods of each address",
    "DUPLICATE_NAME": "choose another name, or change the job that has it",
    "IDEMPOTENCY_KEY_IN_USE": "send another event under another key",
    "NOT_POSSIBLE": "the state of the row forbids it; the message says why",
    "STALE_EDIT": "read the job again, and send its new `tick_seq` or ETag",
    "BODY_TOO_LARGE": "send less; `DATA_UPLOAD_MAX_MEMORY_SIZE` of Django is the limit",
    "UNSUPPORTED_MEDIA_TYPE": "as it says",
    "INTERNAL_ERROR": "look into the log of web, and report it as a fault of jobu",
    "DATABASE_UNAVAILABLE": "try again after `Retry-After`; check the database if it stays",
    "UNAVAILABLE": "try again; `GET /ready` says what is missing",
}
# Bases that nobody raises, and what handlers raise themselves.
_NOT_LISTED: Final = {
    "HandlerError", "CannotRunError", "PermanentError", "RetryLaterError", "TaskExit",
    "DatabaseError", "TransactionError", "ScheduleError",
}  # fmt: skip


def page() -> str:
    return "\n".join([HEAD, *_start(), *_checks(), *_refused(), *_fields(), *_api(), *_classes()])


def _start() -> Iterator[str]:
    yield from _heading("The start", "message", "what to do")
    source = (ROOT / "script" / "bootstrap.sh").read_text(encoding="utf-8").replace("\\\n", "")
    found = []
    for line in source.splitlines():
        before, fail, after = line.partition('fail "')
        if fail and not before.rstrip().endswith(("#", "say")):
            found.append(" ".join(after.replace(" ;;", "").replace('"', "").split()))
    yield from _rows(_shell(found), SCRIPTS)
    yield from _rows(_messages("jobu_project", ("ConfigError", "CommandError")), START)
    yield ""


def _shell(found: list[str]) -> list[str]:
    return sorted(set(found))


def _checks() -> Iterator[str]:
    yield from _heading(
        "`manage.py check`, and the start of beat and workers", "id", "message", "what to do"
    )
    used = set()
    for path in _sources("scheduler", "jobu_project"):
        for call in _calls(path, ("Error", "Warning")):
            given = {word.arg: word.value for word in call.keywords}
            if "id" in given:
                code, hint = _text(given["id"]), _text(given.get("hint"))
                used.add(code)
                remedy = CHECKS.get(code) or hint
                assert remedy, f"{code} has no hint: add a remedy to tests/errors_page.py"
                yield _row(f"`{code}`", _text(call.args[0]) or NOT_UTF8, remedy)
    assert used >= set(CHECKS), f"no such checks: {set(CHECKS) - used}"
    yield ""


def _refused() -> Iterator[str]:
    yield from _heading("Operations", "message", "what to do")
    yield from _rows(_messages("scheduler", ("NotPossible",)), REFUSED)
    yield ""


def _fields() -> Iterator[str]:
    from tests.field_messages import field_messages  # needs Django's registry of apps

    yield from _heading(
        "Fields of jobs, events, backfills and filters", "message", "of", "what to do"
    )
    found = {
        _without_names(text): sorted(filter(None, fields))
        for text, fields in field_messages().items()
    }
    used = set()
    for text, fields in sorted(found.items()):
        start = next((key for key in FIELDS if text.startswith(key)), "")
        used.add(start)
        names = ", ".join(f"`{field}`" for field in fields) if 0 < len(fields) < 5 else "several"
        tick = "``" if "`" in text else "`"
        yield _row(f"{tick}{_shown(text)}{tick}", names, FIELDS.get(start, "as it says"))
    assert used >= set(FIELDS), f"no such messages: {set(FIELDS) - used}"
    yield ""


def _api() -> Iterator[str]:
    from tests.field_messages import api_codes

    yield from _heading("Codes of the API", "status", "code", "message", "what to do")
    found = api_codes()
    assert {code for _, code in found} == set(API), (
        "add a remedy to tests/errors_page.py, or remove"
    )
    for (status, code), text in sorted(found.items()):
        shown = f"`{_without_names(text)}`" if text else "of the operation"
        yield _row(str(status), f"`{code}`", shown, API[code])
    yield ""


def _classes() -> Iterator[str]:
    yield from _heading("Handlers, databases and schedules", "error", "meaning", "what to do")
    for path in ("handlers/errors.py", "dbpools/errors.py", "scheduler/schedule/errors.py"):
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name not in _NOT_LISTED:
                if node.name == "ParamError" or not node.name.endswith("Error"):
                    continue
                assert node.name in CLASSES, f"{node.name}: add a remedy to tests/errors_page.py"
                meaning = (ast.get_docstring(node) or "").splitlines()[0]
                yield _row(f"`{node.name}`", meaning, CLASSES[node.name])
    yield ""


# --- the sources ----------------------------------------------------------------------------------


def _messages(folder: str, names: tuple[str, ...]) -> list[str]:
    found = set()
    for path in _sources(folder):
        for call in _calls(path, names):
            text = _text(call.args[0]) if call.args else ""
            if any(character.isalpha() for character in text):
                found.add(text)
    return sorted(found)


def _sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def _calls(path: Path, names: tuple[str, ...]) -> Iterator[ast.Call]:
    for name, call in _named_calls(path):
        if name in names:
            yield call


@cache
def _named_calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Read once: most files are asked for several names."""
    return [
        (node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    ]


def _text(node: ast.expr | None) -> str:
    """Returns the text that an expression makes; `...` for its values, "" if it is not known."""
    match node:
        case ast.Constant(value=str(text)):
            found = text
        case ast.JoinedStr(values=parts):
            found = "".join(
                _text(part) if isinstance(part, ast.Constant) else "..." for part in parts
            )
        case ast.BinOp(left=left):
            found = _text(left)
        case ast.Call(func=ast.Name(id="_" | "gettext"), args=[first, *_]):
            found = _text(first)
        case ast.List(elts=[first]):
            found = _text(first)
        case _:
            found = ""
    return _without_names(found)


def _without_names(text: str) -> str:
    return re.sub(r"%\(\w+\)s", "...", text)


# --- the tables -----------------------------------------------------------------------------------


def _heading(title: str, *columns: str) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)


def _rows(messages: list[str], remedies: dict[str, str]) -> Iterator[str]:
    used = set()
    for message in messages:
        start = next((key for key in remedies if message.startswith(key)), None)
        assert start is not None, f"{message!r}: add a remedy to tests/errors_page.py"
        used.add(start)
        yield _row(f"`{_shown(message)}`", remedies[start] or "as it says")
    assert used == set(remedies), f"no such messages: {set(remedies) - used}"


def _shown(message: str) -> str:
    words = message.splitlines()[0]
    for variable in ("${reason:-$(printf '%s\\n' $2 | tail -n 1)}", "$version", "$root", "$1"):
        words = words.replace(variable, "...")
    while "...." in words:
        words = words.replace("....", "...")
    return words


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: list[str]) -> int:
    django.setup()
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
