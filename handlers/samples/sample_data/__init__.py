"""The table `sample_data`, which the sample handlers share: its rows, params and creation.

On PostgreSQL and MySQL the scripts in docker/init/ create it. On SQLite no script runs, so the
handlers call `ensure_sqlite_table` first.
"""

from handlers.samples.sample_data.model import Item, ItemParams, ItemResult
from handlers.samples.sample_data.table import ensure_sqlite_table

__all__ = ["Item", "ItemParams", "ItemResult", "ensure_sqlite_table"]
