"""The search for executions, by words and by the id of a Celery task."""

from __future__ import annotations

import re
from typing import Any, Final

from django.db.models import Q, QuerySet

from scheduler.admin.filters import known_handlers
from scheduler.models import CronJob, bounded_id

# A word of the search finds at most this many jobs, the newest ones.
JOBS_SEARCHED: Final = 500
# The format of labels.task_id.
TASK_ID: Final = re.compile(r"jobu-([0-9]{1,19})-[0-9]+", re.ASCII)


def matching(queryset: QuerySet[Any], search_term: str) -> QuerySet[Any]:
    """Filters by number, job name and handler name without a scan of the history.

    The names are searched in the short lists of jobs and handlers.
    """
    for word in search_term.split()[:10]:
        task = TASK_ID.fullmatch(word)
        number = task[1] if task else word.removeprefix("#")
        if number.isascii() and number.isdigit():
            queryset = queryset.filter(id=bounded_id(number))
            continue
        found = CronJob.objects.filter(name__icontains=word).order_by("-id")
        jobs = list(found.values_list("id", flat=True)[:JOBS_SEARCHED])
        handlers = [name for name in known_handlers() if word.lower() in name.lower()]
        queryset = queryset.filter(Q(job_id__in=jobs) | Q(handler_name__in=handlers))
    return queryset


def execution_of_task(task: str) -> int | None:
    """Returns the id of the execution that a Celery task ran; None if there is none."""
    found = TASK_ID.fullmatch(task)
    return bounded_id(found[1]) if found else None


def names_one(search_term: str) -> bool:
    """Returns whether a person looks for one execution, by its number or its task's id."""
    words = (word.removeprefix("#") for word in search_term.split()[:10])
    return any(
        TASK_ID.fullmatch(word) is not None or (word.isascii() and word.isdigit()) for word in words
    )
