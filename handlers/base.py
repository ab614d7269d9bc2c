"""The class every handler extends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel

from handlers.context import HandlerContext, current
from handlers.params import HandlerParams


class BaseHandler(ABC):
    """One job's work. A new instance is made for every run, so `self` may keep the run's state.

    `@handler` fills the class attributes; a class made by a resolver sets them itself.
    """

    handler_name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    params_model: ClassVar[type[BaseModel]] = HandlerParams
    takes_dict: ClassVar[bool] = False
    """True: `execute` receives the params as the plain dict that was stored, not as a model."""
    databases: ClassVar[tuple[str, ...]] = ()
    """Names of the databases without which it cannot run. Doors warn and runs fail where one is
    not configured.
    """

    _context: HandlerContext | None = None

    @abstractmethod
    def execute(self, params: Any) -> Any:
        """Do the work and return a HandlerResult, a dict, or None.

        Write `async def execute`. A plain `def execute` runs in a thread of its own; it cannot be
        interrupted, so let it look at `self.context.stop_requested` now and then.
        Raise any exception to fail, PermanentError to fail without retries.
        """

    @property
    def context(self) -> HandlerContext:
        """This run's context. Works in any thread once the handler has been made."""
        return self._context if self._context is not None else current()

    def bind(self, context: HandlerContext) -> None:
        """Tie this instance to its run; the runner calls it once."""
        self._context = context
