"""What migrations share. Not a migration itself: its name begins with `_`."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def is_here(operation: Any, app_label: str, schema_editor: Any, state: Any) -> bool:
    """Whether this database is to have the table of the operation.

    In a project with several databases `migrate --database=other` comes here, too, and its router
    says no. Django's own operations ask it; what they do by SQL of ours has to ask by itself.
    """
    model = state.apps.get_model(app_label, operation.model_name)
    allowed: bool = operation.allow_migrate_model(schema_editor.connection.alias, model)
    return allowed


class AddIndex(migrations.AddIndex):
    """On PostgreSQL it is made while others write: the migration must not be atomic.

    MySQL and MariaDB have no partial indexes, and Django would make none: there it holds all rows.
    """

    def __init__(self, model_name: str, index: models.Index) -> None:
        super().__init__(model_name=model_name, index=index)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if not is_here(self, app_label, schema_editor, to_state):
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor == "postgresql":
            # One that was left behind when an earlier try was interrupted.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
            schema_editor.add_index(model, self.index, concurrently=True)
        else:
            schema_editor.add_index(model, self._known_to(schema_editor))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if not is_here(self, app_label, schema_editor, from_state):
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.index.name}")
        else:
            schema_editor.remove_index(model, self._known_to(schema_editor))

    def _known_to(self, schema_editor: Any) -> models.Index:
        if schema_editor.connection.vendor != "mysql":
            return self.index
        return models.Index(fields=self.index.fields, name=self.index.name)
