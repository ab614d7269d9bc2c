"""Params of `service_layer`: any action is taken, the controller answers for the unknown ones."""

from __future__ import annotations

from pydantic import ConfigDict

from handlers import HandlerParams


class ItemRequest(HandlerParams):
    """What somebody wants done to an item."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    action: str = "read"
    id: int | None = None
    name: str | None = None
    value: str | None = None
