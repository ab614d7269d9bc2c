"""Which of our transports Celery uses for a broker's URL.

Only the one in use is imported: the client of Redis alone takes a twentieth of the start of a
process.
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
