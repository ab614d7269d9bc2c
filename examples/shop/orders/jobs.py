"""Handlers of the shop: work that is written for jobu. JOBU["handler_packages"] names this module.

Compared with a Celery task, a handler has parameters that a form can check, a log and progress that
people see while it runs, and a cancel that works.
"""

from handlers import BaseHandler, HandlerParams, HandlerResult, handler
from orders.models import Product


class RestockParams(HandlerParams):
    below: int = 10
    to: int = 100


@handler("restock", params=RestockParams)
class Restock(BaseHandler):
    """Buy what is running out."""

    async def execute(self, params: RestockParams) -> HandlerResult:
        bought = 0
        async for product in Product.objects.filter(stock__lt=params.below):
            self.context.log.info("buying %s: %s in stock", product.name, product.stock)
            bought += params.to - product.stock
            product.stock = params.to
            await product.asave(update_fields=["stock"])
        return HandlerResult(action="restock", count=bought)
