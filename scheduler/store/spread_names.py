"""Groups of jobs with one schedule: the name belongs to it where the expression has an `H`."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Case, Q, When

_HASHED: Final = ("h ", "h/", "h(", "h,", "h\n", "h\r")
_MAY_BE_HASHED: Final = reduce(
    or_,
    (Q(cron_expression__icontains=text) for text in _HASHED),
    Q(cron_expression__iendswith="h"),
)

#: The job's name if its schedule may depend on it; else NULL, so that jobs with one schedule are
#: one group.
SPREAD_NAME: Final = Case(When(_MAY_BE_HASHED, then="name"))
