"""Adds an index to a table that is in use. Not a migration itself: its name begins with `_`."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


class AddIndex(migrations.AddIndex):
    """On PostgreSQL it is made while others write: the migration must not be atomic.

    MySQL and MariaDB have no partial indexes, and Django would make none: there it holds all rows.
    """

    def __init__(self, model_name: str, index: models.Index) -> None:
        super().__init__(model_name=model_name, index=index)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":
            whole = models.Index(fields=self.index.fields, name=self.index.name)
            schema_editor.add_index(model, whole)
        elif vendor == "postgresql":
            # One that was left behind when an earlier try was interrupted.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
            schema_editor.add_index(model, self.index, concurrently=True)
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":
            whole = models.Index(fields=self.index.fields, name=self.index.name)
            schema_editor.remove_index(model, whole)
        elif vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
        else:
            super().database_backwards(app_label, schema_editor, from_state, to_state)
