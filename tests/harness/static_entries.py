"""jobu's settings with a static entry of Celery's beat, every two seconds."""

from __future__ import annotations

from jobu_project.settings import *  # noqa: F403

CELERY_BEAT_SCHEDULE = {"static": {"task": "shop.static", "schedule": 2.0}}
