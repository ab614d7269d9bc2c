"""`manage.py migrate`, which says what to do if an earlier one was interrupted."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError, connections

from jobu_project.interrupted import what_to_do


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> Any:
        try:
            return super().handle(*args, **options)
        except DatabaseError as error:
            told = what_to_do(connections[options["database"]], error)
            if told is None:
                raise
            raise CommandError(told) from error
