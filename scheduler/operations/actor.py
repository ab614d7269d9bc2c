"""The person or program that starts an operation, and the door: admin, API or command."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.states import Door


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The actor that the history names.

    `user_id`: the primary key of the user of this site, if there is one. `token`: the name of the
    API token that was used.
    """

    name: str = ""
    user_id: str | None = None
    door: Door = Door.SYSTEM
    token: str = ""

    def __str__(self) -> str:
        return self.name


NOBODY = Actor()
