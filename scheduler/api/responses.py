"""The status codes of an operation, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from scheduler.api.schemas.base import ErrorOut


def answers(success: Any, *errors: int, status: int = 200) -> dict[int, Any]:
    """Returns status -> schema. `success` None: no body. 400, 401 and 403 are always included."""
    return {status: success} | dict.fromkeys(sorted({400, 401, 403, *errors}), ErrorOut)
