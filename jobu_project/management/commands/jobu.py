"""`manage.py jobu [web] [beat] [worker] [flower]`: runs all or the named parts in one terminal.

It is for development and small installations. It creates what the first start needs (tables, an
admin user, example jobs), and the supervisor then runs the parts. Larger installations run each
part as a separate service.
"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobu_project.launcher.launch import PARTS, launch

USAGE = f"usage: manage.py jobu [{'] ['.join(PARTS)}]    (no name: all of them)"


class Command(BaseCommand):
    help = "Runs web, beat, worker and Flower together, or the parts named, until Ctrl-C."
    requires_system_checks: list[str] = []  # each part runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.usage = USAGE.removeprefix("usage: ")
        parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))

    def run_from_argv(self, argv: list[str]) -> None:
        """Exits with 1 after every wrong call. argparse alone exits with 2 after a wrong option."""
        try:
            super().run_from_argv(argv)
        except SystemExit as error:
            raise SystemExit(1 if error.code == 2 else error.code) from None

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = options["parts"] or list(PARTS)
        unknown = [name for name in chosen if name not in PARTS]
        if unknown:
            raise CommandError(f"there is no part {', '.join(unknown)}\n{USAGE}")
        try:
            code = launch([name for name in PARTS if name in chosen])
        except KeyboardInterrupt:
            code = 130
        sys.exit(code)
