"""The result of a handler."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class HandlerResult(BaseModel):
    """What `execute` returns; extra fields are allowed and are stored with the execution.

    With `success=False` the handler reports that it failed: the execution becomes FAILED, with
    `error` as its reason, keeps this result, and is retried as its job says. A plain dict with
    `"success": False` does the same.
    """

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    action: str | None = None
    success: bool = True
    id: int | str | None = None
    count: int | None = None
    data: Any = None
    error: str | None = None
