"""Tells systemd that this process is there and works: `Type=notify` and `WatchdogSec=`.

The protocol is one datagram per message to the socket that NOTIFY_SOCKET names (sd_notify(3)).
Without that variable nothing is sent.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> bool:
    """Sends a state such as `READY=1` or `WATCHDOG=1`. Never waits, raises nothing.

    Returns whether it was sent.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        # "@" stands for the zero byte before an abstract name.
        out.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
        return True
    return False
