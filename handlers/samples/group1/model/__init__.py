"""Params and result of the sync."""

from handlers.samples.group1.model.sync import SyncParams, SyncResult

__all__ = ["SyncParams", "SyncResult"]
