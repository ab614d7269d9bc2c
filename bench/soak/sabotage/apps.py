"""Sabotages a process once, before it does any work. Forked children inherit the result."""

from __future__ import annotations

import os

from django.apps import AppConfig

from bench.soak.sabotage import CRASH_VARIABLE, FREEZE_VARIABLE, MUTATION_VARIABLE


class SabotageConfig(AppConfig):
    name = "bench.soak.sabotage"
    label = "sabotage"

    def ready(self) -> None:
        from bench.soak.sabotage.mutations import apply
        from scheduler import failpoints

        for variable in (CRASH_VARIABLE, FREEZE_VARIABLE):
            if wanted := os.environ.get(variable):
                name, _, visit = wanted.partition(":")
                is_freeze = variable == FREEZE_VARIABLE
                failpoints.arm(name, visit=int(visit or 1), freeze=is_freeze)
        if name := os.environ.get(MUTATION_VARIABLE, ""):
            apply(name)
