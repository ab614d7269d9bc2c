"""Groups of jobs with one schedule: the name belongs to it where the expression has an `H`, or is
`@after`.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Case, Q, When

from scheduler.schedule.after import AFTER

_HASHED: Final = ("h ", "h/", "h(", "h,", "h\n", "h\r")
_MAY_BE_HASHED: Final = reduce(
    or_,
    (Q(cron_expression__icontains=text) for text in _HASHED),
    # It takes its slots from the upstream jobs that the name stands for.
    Q(cron_expression__iendswith="h") | Q(cron_expression__istartswith=AFTER),
)

#: The job's name if its schedule may depend on it; else NULL, so that jobs with one schedule are
#: one group.
SPREAD_NAME: Final = Case(When(_MAY_BE_HASHED, then="name"))
