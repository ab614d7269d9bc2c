"""Which jobs a text finds, whichever door it was typed at."""

from __future__ import annotations

from django.db.models import Q

from scheduler.models import SEARCHED


def search_of(text: str) -> Q:
    """Returns the condition for jobs that hold `text` anywhere that is searched.

    A job may be found more than once where lists are searched: use `distinct()`.
    """
    found = Q()
    for path in SEARCHED:
        found |= Q(**{f"{path}__icontains": text})
    return found
