"""`sample7`: the handler is a controller. It reads the request, calls a service, builds the result.

An error that the service raises becomes `success=False` with a reason: the execution is FAILED,
and its result says why. Unexpected errors are not caught, so the runner keeps their traceback.
"""

from __future__ import annotations

from handlers import BaseHandler, HandlerResult, handler
from handlers.samples.group3.model import ItemRequest
from handlers.samples.group3.service import ItemNotFoundError, ItemService
from handlers.samples.sample_data import Item, ensure_sqlite_table


class BadRequestError(Exception):
    """The request does not say what its action needs."""


@handler("sample7", "service_layer")
class ServiceLayer(BaseHandler):
    """Create, read, update or delete an item through a service."""

    databases = ("sqlite_2",)

    async def execute(self, request: ItemRequest) -> HandlerResult:
        await ensure_sqlite_table()
        service = ItemService(writer=self.handler_name)
        try:
            items = await self.answer(request, service)
        except (BadRequestError, ItemNotFoundError) as error:
            return HandlerResult(
                action=request.action, success=False, id=request.id, error=str(error)
            )
        touched = items[0].id if len(items) == 1 else request.id
        return HandlerResult(action=request.action, id=touched, count=len(items), data=items)

    async def answer(self, request: ItemRequest, service: ItemService) -> list[Item]:
        match request.action:
            case "create":
                if not request.name:
                    raise BadRequestError("create needs a name")
                return [await service.create(request.name, request.value)]
            case "read" if request.id is None:
                return await service.latest()
            case "read":
                return [await service.get(needed_id(request))]
            case "update":
                return [await service.update(needed_id(request), request.name, request.value)]
            case "delete":
                return [await service.delete(needed_id(request))]
            case unknown:
                raise BadRequestError(
                    f"unknown action {unknown!r}: create, read, update and delete are known"
                )


def needed_id(request: ItemRequest) -> int:
    """Returns the id of the request; BadRequestError if it has none."""
    if request.id is None:
        raise BadRequestError(f"{request.action} needs an id")
    return request.id
