"""What a watcher has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduler.alert_states import AlertKind


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something is wrong with the scheduler. `subject_key` tells it from others of its kind.

    `facts`: codes and numbers, as states.AlertKind lists them.
    """

    kind: AlertKind
    subject_key: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""

    @property
    def open_key(self) -> str:
        """What makes it one episode among any number of processes."""
        return f"{self.kind.value}:{self.subject_key}"
