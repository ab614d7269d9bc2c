"""Puts Flower's /metrics behind Flower's login, as all its other pages are.

Flower 2.2 answers /metrics to everybody and has no option for it. The names of workers, tasks and
their counts are nobody's business who has no password. `/healthcheck` stays open and says only OK.
"""

from __future__ import annotations


def install() -> None:
    """Call it in Flower's process, before Flower starts."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)
