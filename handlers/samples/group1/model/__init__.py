"""What the sync takes and gives."""

from handlers.samples.group1.model.sync import SyncParams, SyncResult

__all__ = ["SyncParams", "SyncResult"]
