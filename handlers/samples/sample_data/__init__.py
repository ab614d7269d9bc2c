"""The table `sample_data`, which the sample handlers share: its rows, params, and how it is made.

PostgreSQL and MySQL get it from docker/init/; on SQLite there is nobody to run a script, so the
handlers call `ensure_sqlite_table` first.
"""

from handlers.samples.sample_data.model import Item, ItemParams, ItemResult
from handlers.samples.sample_data.table import ensure_sqlite_table

__all__ = ["Item", "ItemParams", "ItemResult", "ensure_sqlite_table"]
