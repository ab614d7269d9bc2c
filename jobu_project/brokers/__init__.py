"""Which of our transports Celery uses for a broker's URL. Only the one that is used gets loaded:
Redis' client alone is a twentieth of the start of a process that may not need it.
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
    """Make kombu and Celery know them. To be called before the first connection."""
    TRANSPORT_ALIASES.update(TRANSPORTS)
