"""`manage.py tokens VERB`: makes, lists and revokes the tokens of the REST API.

`create` prints the key alone on standard output, once. No other output and no log contains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.models import ApiToken
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.keys import TokenControl
from scheduler.operations.validation import text_problem

NAME_LENGTH = ApiToken._meta.get_field("name").max_length or 0
_NAMES_COMPARED = 2000


class Command(JobuCommand):
    help = "The tokens of the REST API."
    about = staticmethod(lambda: _("The tokens of the REST API."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("tokens by name; no key is shown"), run=_list,
                 arguments=_list_arguments),
            Verb(name="create", help=_("make a token, and print its key once"), run=_create,
                 arguments=_create_arguments),
            Verb(name="revoke", help=_("refuse tokens from now on"), run=_revoke,
                 arguments=inputs.add_ids),
        )  # fmt: skip

    @property
    def tokens(self) -> TokenControl:
        return self.control.of(TokenControl)


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--user", metavar="NAME", help=_("only the tokens of this user"))
    inputs.add_limit(parser)


def _create_arguments(parser: CommandParser) -> None:
    parser.add_argument("--user", required=True, metavar="NAME", help=_("as whom the token acts"))
    parser.add_argument("--name", required=True, help=_("what uses it, and where"))
    parser.add_argument(
        "--scopes",
        default="read",
        metavar="SCOPES",
        help=_("of %(scopes)s, with commas between them (read)")
        % {"scopes": ", ".join(ApiToken.SCOPES)},
    )
    parser.add_argument(
        "--expires", metavar="TIME", help=_("until when it is valid, such as 'in 90d'")
    )


def _create(command: Command, options: dict[str, Any]) -> int:
    now = command.control.clock.now()
    problems: dict[str, list[str]] = {}
    if problem := text_problem(options["name"], NAME_LENGTH, required=True):
        problems["name"] = [problem]
    scopes = [part.strip() for part in options["scopes"].split(",") if part.strip()]
    unknown = [scope for scope in scopes if scope not in ApiToken.SCOPES]
    if unknown or not scopes:
        problems["scopes"] = [
            _("%(scope)s is none of %(scopes)s")
            % {"scope": repr(", ".join(unknown)), "scopes": ", ".join(ApiToken.SCOPES)}
        ]
    expires_at = None
    if options["expires"] is not None:
        expires_at = inputs.instant_of(options["expires"], "expires", now)
        if expires_at <= now:
            problems["expires"] = [_("must be in the future")]
    if problems:
        raise InvalidJob(problems)
    ordered = [scope for scope in ApiToken.SCOPES if scope in scopes]
    token, key = command.tokens.create(
        _user_named(options["user"]), options["name"], ordered, expires_at=expires_at
    )
    if command.printer.as_json:
        command.printer.document({**_facts(token, now), "key": key})
    else:
        command.printer.line(key)
        command.printer.note(
            _("token %(id)s; its key is above, shown this once and stored nowhere")
            % {"id": token.pk}
        )
    return 0


def _list(command: Command, options: dict[str, Any]) -> int:
    now = command.control.clock.now()
    rows = ApiToken.objects.select_related("user").order_by("name", "id")
    if options["user"] is not None:
        rows = rows.filter(user=_user_named(options["user"]))
    limit = options["limit"]
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document({"items": [_facts(each, now) for each in found], "more": more})
        return 0
    command.printer.table(
        ("ID", _("name"), _("begins with"), _("acts as"), _("scopes"), _("state"), _("last used"),
         _("expires")),
        [
            (
                each.pk, each.name, f"{each.prefix}...", each.user.get_username(),
                ", ".join(each.scopes), _state(each, now), each.last_used_at, each.expires_at,
            )
            for each in found
        ],
    )  # fmt: skip
    if more:
        command.printer.note(_("There are more; --limit shows them"))
    return 0


def _revoke(command: Command, options: dict[str, Any]) -> int:
    def work(token_id: int) -> dict[str, Any]:
        token = ApiToken.objects.filter(pk=token_id).first()
        if token is None:
            raise NotPossible(_("there is no such row"))
        command.tokens.revoke(token)
        return {"text": _("revoked"), "token": token.name}

    return command.each(inputs.without_doubles(options["ids"]), work)


def _facts(token: ApiToken, now: datetime) -> dict[str, Any]:
    return {
        "id": token.pk,
        "name": token.name,
        "begins_with": token.prefix,
        "user": token.user.get_username(),
        "scopes": list(token.scopes),
        "state": _state(token, now),
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _state(token: ApiToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"


def _user_named(name: str) -> Any:
    user = get_user_model()
    found = user.objects.filter(**{user.USERNAME_FIELD: name}).first()
    if found is None:
        names = user.objects.values_list(user.USERNAME_FIELD, flat=True)[:_NAMES_COMPARED]
        near = nearest(name, names)
        hint = _(", did you mean %(name)s?") % {"name": repr(near)} if near else ""
        raise NotPossible(
            _("there is no user %(name)s%(hint)s") % {"name": repr(name), "hint": hint}
        )
    if not found.is_active:
        raise NotPossible(_("the user %(name)s is switched off") % {"name": repr(name)})
    return found
