"""Finding executions by what a person types, and by the id of a task in Flower."""

from __future__ import annotations

import re
from typing import Any, Final

from django.db.models import Q, QuerySet

from scheduler.admin.filters import known_handlers
from scheduler.models import CronJob, bounded_id

# More jobs than this under one word of the search: the word says too little.
JOBS_SEARCHED: Final = 500
# store.publishing.task_id, as Flower shows it.
TASK_ID: Final = re.compile(r"jobu-([0-9]{1,19})-[0-9]+-[0-9]+", re.ASCII)


def matching(queryset: QuerySet[Any], search_term: str) -> QuerySet[Any]:
    """By number, or through the short lists of jobs and handlers: no scan of the history."""
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
    """The id of the execution that a task ran; None when no execution has such a task."""
    found = TASK_ID.fullmatch(task)
    return bounded_id(found[1]) if found else None
