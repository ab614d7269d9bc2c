"""Params of `service_layer`. Every action is valid here; the handler rejects unknown ones."""

from __future__ import annotations

from pydantic import ConfigDict

from handlers import HandlerParams


class ItemRequest(HandlerParams):
    """A request to create, read, update or delete an item."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    action: str = "read"
    id: int | None = None
    name: str | None = None
    value: str | None = None
