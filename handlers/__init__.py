"""Handlers: what jobs do. A handler's author needs this import only:

    from handlers import BaseHandler, HandlerParams, HandlerResult, handler

    class MailParams(HandlerParams):
        to: str

    @handler("mail", params=MailParams)
    class MailHandler(BaseHandler):
        '''Send one mail.'''

        async def execute(self, params: MailParams) -> HandlerResult:
            self.context.log.info("sending")
            return HandlerResult(count=1)

Knows handler names, params, runs and results. Must not know Django, Celery, schedules or tables.
"""

from handlers.base import BaseHandler
from handlers.context import HandlerContext, current
from handlers.databases import require_databases
from handlers.discovery import discover
from handlers.errors import (
    CannotRunError,
    DatabaseNotConfiguredError,
    DuplicateHandlerError,
    HandlerError,
    HandlerNotFoundError,
    InvalidParamsError,
    PermanentError,
    RetryLaterError,
)
from handlers.params import HandlerParams
from handlers.registry import get_handler, get_registered_handlers, handler
from handlers.result import HandlerResult
from handlers.validation import ValidCall, validate_params

__all__ = [
    "BaseHandler",
    "CannotRunError",
    "DatabaseNotConfiguredError",
    "DuplicateHandlerError",
    "HandlerContext",
    "HandlerError",
    "HandlerNotFoundError",
    "HandlerParams",
    "HandlerResult",
    "InvalidParamsError",
    "PermanentError",
    "RetryLaterError",
    "ValidCall",
    "current",
    "discover",
    "get_handler",
    "get_registered_handlers",
    "handler",
    "require_databases",
    "validate_params",
]
