"""What jobu's commands share: verbs as sub-commands, the actor, output, errors and exit codes.

Exit codes: 0 done, 1 refused or failed (stderr says why), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils import translation
from django.utils.translation import gettext as _

from scheduler.management.output import Printer, printable, wants_colours
from scheduler.operations import validation
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control, InvalidJob, NotPossible, StaleEdit
from scheduler.operations.errors import Problems, describe
from scheduler.schedule import ScheduleError
from scheduler.states import Door

ACTOR_LENGTH: Final = 150

# The errors whose message is shown to a person. Any other error is a bug and shows its traceback.
REFUSED: Final = (InvalidJob, NotPossible, StaleEdit, ObjectDoesNotExist, ScheduleError)


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One sub-command, `manage.py COMMAND NAME`. `run` returns the exit code."""

    name: str
    help: str
    run: Callable[[Any, dict[str, Any]], int]
    arguments: Callable[[CommandParser], None] = lambda parser: None


class Refused(CommandError):
    """Ends a command with exit code 1. `fields`: field -> problems, for `--json`."""

    def __init__(self, message: str, fields: Problems | None = None) -> None:
        super().__init__(message, returncode=1)
        self.fields = fields


class JobuCommand(BaseCommand):
    """A command that prints for people or, with `--json`, for programs.

    Subclasses define `about`, and either `verbs` or `act`.
    """

    requires_system_checks: list[str] = []  # slow, and needed only where beat or a worker starts
    about: ClassVar[Callable[[], str]] = staticmethod(lambda: "")

    def verbs(self) -> Sequence[Verb]:
        """Returns the sub-commands. Empty: the command has none, and `act` does its work."""
        return ()

    def act(self, options: dict[str, Any]) -> int:
        raise NotImplementedError

    # --- Django's side ----------------------------------------------------------------------------

    # The command line is always in English, whatever language is configured for the pages.

    def run_from_argv(self, argv: list[str]) -> None:
        with translation.override("en"):
            super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        with translation.override("en"):
            return super().execute(*args, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = type(self).about()
        verbs = self.verbs()
        if not verbs:
            self._common(parser)
            return
        below = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for verb in verbs:
            made = below.add_parser(verb.name, help=verb.help, description=verb.help)
            verb.arguments(made)
            self._common(made)

    def _common(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("print JSON"))
        parser.add_argument(
            "--as",
            dest="actor",
            metavar="NAME",
            help=_("who asks, for the history; otherwise your name on this system"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _never_fail_on_a_character()
        self.printer = Printer(
            self.stdout,
            self.stderr,
            as_json=bool(options.get("json")),
            colours=wants_colours(options),
        )
        try:
            actor = actor_named(options.get("actor"))
            despite = bool(options.get("despite_freeze"))
            # Whoever may run commands may do everything.
            self.control = Control(actor=actor, despite_freeze=despite, may_approve=True)
            self.backfills = self.control.of(BackfillControl)
            code = self._run(options)
        except REFUSED as error:
            raise self._refusal(error) from error
        except Error as error:
            text = " ".join(str(error).split())
            refused = Refused(_("the database cannot be used: %(error)s") % {"error": text})
            self._document_of(refused)
            raise refused from error
        except Refused as error:
            self._document_of(error)
            raise
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            # The reader of our output (head, less) has ended. Without this line, the interpreter
            # prints an error when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        if code:
            sys.exit(code)

    def _run(self, options: dict[str, Any]) -> int:
        for verb in self.verbs():
            if verb.name == options["verb"]:
                return verb.run(self, options)
        return self.act(options)

    # --- refusals ---------------------------------------------------------------------------------

    def _refusal(self, error: Exception) -> Refused:
        refused = Refused(reason_of(error), fields_of(error))
        self._document_of(refused)
        return refused

    def _document_of(self, refused: Refused) -> None:
        if self.printer.as_json:
            problem: dict[str, Any] = {"message": str(refused)}
            if refused.fields:
                problem["fields"] = refused.fields
            self.printer.document({"error": problem})

    # --- several at once --------------------------------------------------------------------------

    def each(self, named: Iterable[object], work: Callable[[Any], dict[str, Any]]) -> int:
        """Calls `work` for each name and prints the outcomes. Returns the exit code."""
        outcomes, code = self.outcomes(named, work)
        if self.printer.as_json:
            self.printer.document(outcomes)
        return code

    def outcomes(
        self, named: Iterable[object], work: Callable[[Any], dict[str, Any]]
    ) -> tuple[dict[str, Any], int]:
        """Like `each`, but returns the outcomes for the JSON, which the caller prints.

        `work` returns the facts of an item. The fact `text` is the line for people and is not part
        of the JSON. A refusal does not stop the other items.
        """
        items: list[dict[str, Any]] = []
        for name in named:
            try:
                found = work(name)
            except (*REFUSED, Refused) as error:
                problem: dict[str, Any] = {"message": reason_of(error)}
                if fields := fields_of(error):
                    problem["fields"] = fields
                items.append({"name": name, "ok": False, "error": problem})
                self.printer.note(f"{name}: {reason_of(error)}")
            else:
                text = found.pop("text")
                items.append({"name": name, "ok": True, **found})
                if not self.printer.as_json:
                    self.printer.line(f"{name}: {text}")
        done = sum(item["ok"] for item in items)
        refused = len(items) - done
        return {"done": done, "refused": refused, "items": items}, 1 if refused else 0

    def confirm(self, question: str, options: dict[str, Any]) -> None:
        """Asks the person at the terminal. Raises Refused if the answer is no."""
        if options.get("yes") or not sys.stdin.isatty():
            return
        self.stderr.write(printable(f"{question} [y/N] "), lambda text: text, "")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes", _("yes")):
            raise Refused(_("nothing was done"))


def add_yes(parser: CommandParser) -> None:
    parser.add_argument("--yes", "-y", action="store_true", help=_("do not ask"))


def reason_of(error: Exception) -> str:
    """Returns why an operation was refused, for a person. Names each wrong field."""
    if isinstance(error, InvalidJob):
        return printable(describe(error.problems))
    if isinstance(error, ObjectDoesNotExist):
        return _("there is no such row")
    if isinstance(error, StaleEdit):
        return _("somebody else, or beat, changed the job meanwhile; try again")
    return printable(str(error))


def fields_of(error: Exception) -> Problems | None:
    if isinstance(error, InvalidJob):
        return error.problems
    if isinstance(error, ScheduleError):
        return {error.field: [error.reason]}
    return getattr(error, "fields", None)


def actor_named(given: str | None) -> Actor:
    """Returns the actor whom `--as` names, otherwise the user of the operating system.

    A name on this system says nothing about the users of the site, so only `--as` finds one.
    """
    name = given if given is not None else _system_user()
    if problem := validation.text_problem(name, ACTOR_LENGTH, required=True):
        raise InvalidJob({"as": [problem]})
    return Actor(name=name, user_id=_user_id(given), door=Door.COMMAND)


def _user_id(name: str | None) -> str | None:
    if name is None:
        return None
    user = get_user_model()
    found = user.objects.filter(**{user.USERNAME_FIELD: name}).values_list("pk", flat=True).first()
    return None if found is None else str(found)


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the user of a container may have no name
        return f"uid {os.getuid()}"


def _never_fail_on_a_character() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
