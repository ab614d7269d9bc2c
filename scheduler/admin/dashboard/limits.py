"""How much the front page shows, how often it asks again, and how long it may compute."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

NOW_SECONDS: Final = 5
CHARTS_SECONDS: Final = 60
LISTED: Final = 10
NEXT_RUNS: Final = 30
PROCESSES: Final = 50
DAY: Final = timedelta(days=1)
#: Runs that wait so long while workers are alive are worth a word.
LONG_WAIT: Final = timedelta(minutes=5)
# What is not known yet is computed until then, from the beginning of the charts on; the page is
# shown without the rest.
HOURS_SECONDS: Final = 0.04
FORECAST_SECONDS: Final = 0.08
HOUR_OF_RUNS_SECONDS: Final = 0.1
#: The comparison of speeds is one piece and may take longer than all before it: it is not begun
#: later than this, unless all before it was known.
SPEEDS_WITHIN_SECONDS: Final = 0.03
#: Until all is there the charts ask again soon.
PARTIAL_SECONDS: Final = 2
