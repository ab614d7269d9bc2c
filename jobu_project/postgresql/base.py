"""Sets what a session needs after it has connected.

libpq can send settings when it connects (`options`), but PgBouncer refuses a connection that does.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes `session` among the OPTIONS: the settings of each session, name -> value."""

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        del params["session"]
        return params

    def init_connection_state(self) -> None:
        super().init_connection_state()
        settings: dict[str, str] = self.settings_dict["OPTIONS"]["session"]
        calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        with self.cursor() as cursor:
            cursor.execute(f"SELECT {calls}", [text for pair in settings.items() for text in pair])
