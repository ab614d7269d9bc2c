"""The verbs `approve` and `reject` of `manage.py executions`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb, add_yes
from scheduler.models import JobExecution
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.operations.masking import mask


def _arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    parser.add_argument("--note", default="", metavar="TEXT")
    parser.add_argument(
        "--digest", metavar="TEXT", help=_("as `show` gave it: refused if the params have changed")
    )
    add_yes(parser)


def _approve_arguments(parser: CommandParser) -> None:
    _arguments(parser)
    inputs.add_despite_freeze(parser)


def _approve(command: JobuCommand, options: dict[str, Any]) -> int:
    return _decide(command, options, command.control.approve, _("Approve %(what)s?"))


def _reject(command: JobuCommand, options: dict[str, Any]) -> int:
    return _decide(command, options, command.control.reject, _("Reject %(what)s?"))


def _decide(
    command: JobuCommand,
    options: dict[str, Any],
    decide: Callable[..., JobExecution],
    question: str,
) -> int:
    ids = inputs.without_doubles(options["ids"])
    digest, note = options["digest"], options["note"].strip()
    if digest is not None and len(ids) > 1:
        raise InvalidJob({"digest": [_("belongs to one execution")]})

    if digest is None and not options["yes"] and not sys.stdin.isatty():
        raise InvalidJob({"digest": [_("is needed where nobody can be asked; or say --yes")]})

    def work(execution_id: int) -> dict[str, Any]:
        found = JobExecution.objects.filter(pk=execution_id).first()
        if found is None:
            raise NotPossible(_("there is no execution %(id)s") % {"id": execution_id})
        if digest is None:
            # What the person sees is what is decided about: changed meanwhile, it is refused.
            name = found.job_name or found.handler_name
            what = f"#{found.pk} {name} {json.dumps(mask(found.params), ensure_ascii=False)}"
            command.confirm(question % {"what": what}, options)
        run = decide(execution_id, digest=digest or digest_of_params(found), note=note)
        return {"id": execution_id, "status": run.status, "text": run.status}

    return command.each(ids, work)


VERBS: Final = (
    Verb(
        name="approve", help=_("let runs start that wait for it"), run=_approve,
        arguments=_approve_arguments,
    ),
    Verb(
        name="reject", help=_("skip runs that wait for an approval"), run=_reject,
        arguments=_arguments,
    ),
)  # fmt: skip
