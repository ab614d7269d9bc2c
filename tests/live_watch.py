"""Watches the live page of an execution like a browser, for `manage.py shell` in a test."""

from __future__ import annotations

import json
import re

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.operations.actor import Actor
from scheduler.operations.control import Control
from tests.harness.waiting import wait_until


def watch(seconds: float) -> None:
    """Starts a run of `seconds`, requests its live fragment until it ends, prints the answers."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.create_superuser("alice", "a@example.com"))
    execution, _ = Control(actor=Actor(name="alice")).event(
        handler_name="sample", params={"sleep_seconds": seconds, "message": "moving"}
    )
    url = reverse("admin:scheduler_jobexecution_live", args=[execution.pk])
    seen: list[dict[str, object]] = []
    mark = ""
    unchanged = 0

    def is_done() -> bool:
        nonlocal mark, unchanged
        answer = client.get(url, headers={"X-Live-Mark": mark})
        mark = answer["X-Live-Mark"]
        if answer.status_code == 204:
            unchanged += 1
        else:
            html = answer.content.decode()
            percent = re.search(r'aria-valuenow="(\d+)"', html)
            seen.append(
                {
                    "percent": int(percent[1]) if percent else None,
                    "logged": "moving (attempt 1)" in html,
                    "running": "has been running on" in html,
                    "succeeded": "SUCCESS" in html,
                }
            )
        return answer.headers.get("X-Live") == "done"

    wait_until(is_done, 100, "the end of the run", details=lambda: json.dumps(seen))
    print(json.dumps({"seen": seen, "unchanged": unchanged}))
