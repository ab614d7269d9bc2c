"""Handlers of a shop, for the pictures in the docs. They only wait and report progress."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from handlers import BaseHandler, HandlerParams, HandlerResult, handler

STEP_SECONDS = 1.5


class ReportParams(HandlerParams):
    day: str = Field(default="yesterday", description="ISO date, or a word")
    format: Literal["pdf", "xlsx"] = "pdf"
    recipients: int = Field(default=12, ge=1, le=500, description="how many get it")


@handler("report.sales", params=ReportParams)
class SalesReport(BaseHandler):
    """Yesterday's sales by region, as a file for the managers."""

    step_seconds = STEP_SECONDS

    async def execute(self, params: ReportParams) -> HandlerResult:
        regions = ("Seoul", "Busan", "Incheon", "Daegu", "Daejeon", "Gwangju", "Ulsan", "Jeju")
        context = self.context
        context.log.info("sales of %s for %s recipients", params.day, params.recipients)
        for done, region in enumerate(regions):
            context.progress(100 * done / len(regions), f"{region}: reading orders")
            context.log.info("%s: %s orders read", region, 4180 - 397 * done)
            if region == "Daegu":
                context.log.warning("%s: 3 orders without a branch, left out", region)
            await asyncio.sleep(self.step_seconds)
        return HandlerResult(action="report", count=len(regions))


@handler("orders.sync")
class SyncOrders(SalesReport):
    """New orders of the web shop into the warehouse."""


@handler("invoices.mail")
class MailInvoices(SalesReport):
    """The day's invoices by mail."""


@handler("stock.recount")
class RecountStock(SalesReport):
    """What is on the shelves against what the books say."""


@handler("prices.import")
class ImportPrices(SalesReport):
    """The suppliers' price lists."""


@handler("cache.warm")
class WarmCache(SalesReport):
    """The pages that people open first."""


@handler("stock.move")
class MoveStock(SalesReport):
    """Pallets between the halls. It goes on while the pictures are taken."""

    step_seconds = 120
