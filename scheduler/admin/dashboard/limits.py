"""Limits of the front page: rows shown, seconds between updates, and seconds of computing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

NOW_SECONDS: Final = 5
CHARTS_SECONDS: Final = 60
LISTED: Final = 10
NEXT_RUNS: Final = 30
PROCESSES: Final = 50
DAY: Final = timedelta(days=1)
#: The health sentence mentions runs that wait longer than this although workers are alive.
LONG_WAIT: Final = timedelta(minutes=5)
# Deadlines, counted from the start of the charts. Values that are not cached are computed until
# the deadline; the page appears without the missing ones.
HOURS_SECONDS: Final = 0.04
FORECAST_SECONDS: Final = 0.08
HOUR_OF_RUNS_SECONDS: Final = 0.1
#: The comparison of speeds cannot be split and may take longer than everything before it. It starts
#: only before this deadline, or if everything before it came from the cache.
SPEEDS_WITHIN_SECONDS: Final = 0.03
#: Seconds between updates of the charts while they are incomplete.
PARTIAL_SECONDS: Final = 2
