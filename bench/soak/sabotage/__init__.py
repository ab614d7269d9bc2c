"""A Django app that only soaks and tests install: it arms crash points and breaks the protocol.

A process started with `DJANGO_SETTINGS_MODULE=bench.soak.sabotage.settings` looks at
`JOBU_CRASH_POINT=name[:visit]` and `JOBU_MUTATION=name`. To jobu itself they mean nothing.
"""

from __future__ import annotations

SETTINGS = "bench.soak.sabotage.settings"
CRASH_VARIABLE = "JOBU_CRASH_POINT"
MUTATION_VARIABLE = "JOBU_MUTATION"
