"""jobu's settings, with the sabotage app in addition."""

from __future__ import annotations

from jobu_project.settings import *  # noqa: F403
from jobu_project.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "bench.soak.sabotage"]
