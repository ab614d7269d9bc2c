"""Params and results of the handlers that create, read, update and delete rows."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from handlers import HandlerParams, HandlerResult


class Item(BaseModel):
    """One row of `sample_data`. `created_at` is an aware UTC instant on every engine."""

    id: int
    name: str
    value: str | None
    created_at: datetime
    writer_handler: str | None


class ItemParams(HandlerParams):
    """`read` needs nothing, `create` (or `write`) a name, `update` and `delete` an id."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    action: Literal["read", "create", "write", "update", "delete"] = "read"
    id: int | None = Field(default=None, ge=1)
    name: str | None = Field(default=None, min_length=1, max_length=255)
    value: str | None = Field(default=None, max_length=10_000)
    limit: int = Field(
        default=20, ge=1, le=1000, description="the maximum number of rows that a read returns"
    )

    @model_validator(mode="after")
    def _action_has_what_it_needs(self) -> Self:
        if self.action in ("create", "write") and self.name is None:
            raise ValueError("this action needs a name")
        if self.action in ("update", "delete") and self.id is None:
            raise ValueError("this action needs an id")
        return self


class ItemResult(HandlerResult):
    """`id` and `count` say which and how many rows were affected; `data` has the rows read."""

    data: list[Item] = []

    @classmethod
    def of_change(cls, action: str, item_id: int | None, changed: int) -> ItemResult:
        """Returns the result of an update or delete; it is a failure if no row has that id."""
        if changed:
            return cls(action=action, id=item_id, count=changed)
        return cls(action=action, id=item_id, count=0, success=False, error=f"no row {item_id}")
