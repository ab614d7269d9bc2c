"""The built-in handler `jobu.alert`: a message about an alert is delivered by a run like any other.

It has no job, a queue of its own, and retries with a back-off, so that a channel that is away for
an hour loses nothing and holds up nobody.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from handlers import PermanentError, RetryLaterError
from handlers.base import BaseHandler
from handlers.registry import add_resolver
from scheduler.alerts.delivery import deliver
from scheduler.store.connection import database_now
from scheduler.store.deliveries import DELIVERY_HANDLER


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: int


class DeliverAlert(BaseHandler):
    """Deliver a message about an alert."""

    handler_name = DELIVERY_HANDLER
    description = "Deliver a message about an alert."
    params_model = Params

    def execute(self, params: Params) -> dict[str, Any]:
        failed = deliver(params.message, database_now)
        if failed is None:
            return {"action": "deliver", "message": params.message}
        if failed.again_in_seconds is None:
            raise PermanentError(failed.reason)
        raise RetryLaterError(failed.reason, seconds=failed.again_in_seconds)


def install() -> None:
    """Make the registry find it. It is in no menu: a job that runs it would deliver nothing."""
    add_resolver(DELIVERY_HANDLER, lambda name: DeliverAlert if name == DELIVERY_HANDLER else None)
