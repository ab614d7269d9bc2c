"""A run that is divided into shards: runs of their own, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from handlers.base import BaseHandler
from handlers.errors import InvalidParamsError
from handlers.params import as_model, checked_mapping

#: So many shards at most has a run.
MAX_SHARDS: Final = 10_000
#: So many bytes of JSON at most have the params of all shards together.
MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """The shards that a run becomes."""

    count: int | None
    """None: those that it has already. The unfinished ones of them go on."""
    params: Sequence[Mapping[str, Any]] | None = None
    """Of each shard. None: all have those of the run."""


class InvalidShardsError(Exception):
    """What `plan` has returned cannot be run; the text says why, without values of params."""


def has_plan(handler: type[BaseHandler]) -> bool:
    """Whether the handler divides its runs by itself."""
    return handler.plan is not BaseHandler.plan


def planned(handler: type[BaseHandler], value: object) -> FanOut:
    """The shards that `plan` has returned. Raises InvalidShardsError."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InvalidShardsError(f"plan() returned {type(value).__name__}, not a list of params")
    if len(value) > MAX_SHARDS:
        raise InvalidShardsError(f"plan() returned {len(value)} shards, more than {MAX_SHARDS}")
    shards: list[Mapping[str, Any]] = []
    size = 0
    for number, given in enumerate(value):
        raw = given.model_dump(mode="json") if isinstance(given, BaseModel) else given
        try:
            params = checked_mapping(raw)
            as_model(handler.params_model, params)
        except InvalidParamsError as error:
            raise InvalidShardsError(f"shard {number}: {error}") from None
        size += len(json.dumps(params))
        if size > MAX_BYTES:
            raise InvalidShardsError(
                f"plan() returned params of more than {MAX_BYTES // 1024 // 1024} MiB"
            )
        shards.append(params)
    return FanOut(count=len(shards), params=shards)
