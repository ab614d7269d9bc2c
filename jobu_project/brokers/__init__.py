"""Tells kombu which of our transports to use for a broker's URL.

kombu imports a transport when it first uses it. So a process without Redis does not import the
client of Redis, which takes a twentieth of its start.
"""

from __future__ import annotations

from typing import Final

from kombu.transport import TRANSPORT_ALIASES

TRANSPORTS: Final = {
    "jobufs": "jobu_project.brokers.files:Transport",
    "redis": "jobu_project.brokers.redis:Transport",
    "rediss": "jobu_project.brokers.redis:Transport",
}


def register() -> None:
    """Register the transports with kombu. Call it before the first connection."""
    TRANSPORT_ALIASES.update(TRANSPORTS)
