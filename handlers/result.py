"""What a handler may give back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class HandlerResult(BaseModel):
    """A handler's answer; further fields are welcome and are stored with the execution.

    `success=False` is the handler's own verdict that it failed: the execution becomes FAILED
    (and is retried as its job says), with `error` as the reason and this result kept beside it.
    A green row over a failed night would be worse. A plain dict with `"success": False` counts
    likewise.
    """

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    action: str | None = None
    success: bool = True
    id: int | str | None = None
    count: int | None = None
    data: Any = None
    error: str | None = None
