"""`manage.py alerts VERB`: what is open, who was told, and over which channels people are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.alert_states import MessageState
from scheduler.clock import pause
from scheduler.labels import label_of
from scheduler.management import alert_verbs, inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.operations.alert_channels import ChannelOperations

_LOOK_SECONDS = 0.2


class Command(JobuCommand):
    help = "Alerts: what is wrong, and how people are told of it."
    about = staticmethod(lambda: _("Alerts: what is wrong, and how people are told of it."))

    def verbs(self) -> Sequence[Verb]:
        return (
            *alert_verbs.verbs(),
            Verb(name="channels", help=_("the channels by name; no secret is shown"),
                 run=_channels),
            Verb(name="test", help=_("send a test over a channel, and wait until it is sent"),
                 run=_test, arguments=_test_arguments),
        )  # fmt: skip

    @property
    def channels(self) -> ChannelOperations:
        return self.control.of(ChannelOperations)


def _channels(command: Command, options: dict[str, Any]) -> int:
    found = command.channels.channels()
    if command.printer.as_json:
        command.printer.document({"items": [asdict(each) for each in found]})
        return 0
    rows = [
        (
            each.name, each.kind, _("yes") if each.is_default else "", each.address,
            label_of(MessageState, each.last.state) if each.last else "",
            each.last.error if each.last else "",
        )
        for each in found
    ]  # fmt: skip
    titles = (_("name"), _("kind"), _("default"), _("address"), _("last message"), _("error"))
    command.printer.table(titles, rows)
    return 0


def _test_arguments(parser: CommandParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help=_("its name in the settings"))
    parser.add_argument(
        "--timeout",
        type=inputs.span_type,
        metavar="SPAN",
        default=30,
        help=_("wait so long at most, such as 90s (30s)"),
    )


def _test(command: Command, options: dict[str, Any]) -> int:
    """Waits for the run that delivers it: a worker has another network than this terminal."""
    message = command.channels.send_test(options["channel"])
    clock = command.control.clock
    until = clock.monotonic() + options["timeout"]
    while message.state == MessageState.WAITING and clock.monotonic() < until:
        pause(_LOOK_SECONDS)
        message = command.channels.message(message.pk)
        if message.error:
            break  # it is tried again, which may take minutes
    if command.printer.as_json:
        names = ("id", "channel", "state", "tries", "error", "execution_id")
        command.printer.document({name: getattr(message, name) for name in names})
    elif message.state == MessageState.SENT:
        command.printer.line(_("sent over %(channel)s") % {"channel": message.channel})
    else:
        text = _("not sent: %(error)s")
        command.printer.note(text % {"error": message.error or _("no worker has taken it yet")})
    return 0 if message.state == MessageState.SENT else 1
