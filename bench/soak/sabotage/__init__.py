"""A Django app for soaks and tests only: it arms crash points and breaks the protocol.

A process that starts with `DJANGO_SETTINGS_MODULE=bench.soak.sabotage.settings` reads
`JOBU_CRASH_POINT=name[:visit]`, `JOBU_FREEZE_POINT=name[:visit]` and `JOBU_MUTATION=name`. jobu
itself ignores these variables.
"""

from __future__ import annotations

SETTINGS = "bench.soak.sabotage.settings"
CRASH_VARIABLE = "JOBU_CRASH_POINT"
FREEZE_VARIABLE = "JOBU_FREEZE_POINT"
MUTATION_VARIABLE = "JOBU_MUTATION"
