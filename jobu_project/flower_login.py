"""Puts Flower's /metrics behind Flower's login, as all its other pages are.

Flower 2.2 answers /metrics to everybody and has no option for it. The names of workers, tasks and
their counts are nobody's business who has no password. `/healthcheck` stays open and says only OK.
"""

from __future__ import annotations

from typing import Any


def install() -> None:
    """Call it in Flower's process, before Flower starts."""
    from flower.views.monitor import Metrics

    answer = Metrics.get

    async def get(handler: Any) -> None:
        # Flower itself refuses a wrong basic auth here. Without a login of Flower all is open.
        if handler.current_user:
            await answer(handler)
        else:
            handler.send_error(401)

    Metrics.get = get
