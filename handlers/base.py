"""The base class of handlers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from handlers.context import HandlerContext, current
from handlers.params import HandlerParams


class BaseHandler(ABC):
    """The work of a job. Each run gets a new instance, so `self` may hold the state of the run.

    `@handler` sets the class attributes; a class that comes from a resolver sets them itself.
    """

    handler_name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    params_model: ClassVar[type[BaseModel]] = HandlerParams
    takes_dict: ClassVar[bool] = False
    """True: `execute` receives the params as the stored dict, not as a model."""
    databases: ClassVar[tuple[str, ...]] = ()
    """Names of the databases that the handler needs.

    Where one is not configured, saving a job warns and a run fails.
    """

    _context: HandlerContext | None = None

    @abstractmethod
    def execute(self, params: Any) -> Any:
        """Do the work and return a HandlerResult, a dict, or None.

        Write `async def execute`. A plain `def execute` runs in its own thread and cannot be
        interrupted, so it should check `self.context.stop_requested` regularly.
        Raise any exception to fail, PermanentError to fail without retries.
        """

    async def plan(self, params: Any) -> Sequence[Mapping[str, Any]]:
        """Divide the run: return the params of each shard, a list of dicts. Optional.

        With this method a run calls `plan`, not `execute`. Each shard is then a run of its own, on
        any worker, that calls `execute` with its own params; `self.context.shard` says which one
        it is. The list may be empty.
        """
        raise NotImplementedError

    @property
    def context(self) -> HandlerContext:
        """The context of this run. Works in every thread that the handler starts."""
        return self._context if self._context is not None else current()

    def bind(self, context: HandlerContext) -> None:
        """Set the context of this instance; the runner calls it once."""
        self._context = context
