"""Params and results of this group's handlers."""

from handlers.samples.group3.model.concurrent import ConcurrentParams, ConcurrentResult
from handlers.samples.group3.model.item import ItemRequest
from handlers.samples.group3.model.work import WorkParams, WorkResult

__all__ = ["ConcurrentParams", "ConcurrentResult", "ItemRequest", "WorkParams", "WorkResult"]
