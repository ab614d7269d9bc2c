"""The filters of lists that users keep. Each sees and changes only those of their own."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet

from scheduler.models import SavedFilter

#: A user keeps no more of one list.
MOST: Final = 30


def of(user: Any, page: str) -> QuerySet[SavedFilter]:
    return SavedFilter.objects.filter(user=user, page=page).order_by("name")


def find(user: Any, filter_id: int) -> SavedFilter | None:
    return SavedFilter.objects.filter(user=user, pk=filter_id).first()


def put(user: Any, *, page: str, name: str, query: str) -> bool:
    """Keep a filter. One with the same name is replaced. False: the user has too many already."""
    kept = of(user, page)
    if not kept.filter(name=name).exists() and kept.count() >= MOST:
        return False
    SavedFilter.objects.update_or_create(user=user, page=page, name=name, defaults={"query": query})
    return True


def delete(user: Any, filter_id: int) -> bool:
    return SavedFilter.objects.filter(user=user, pk=filter_id).delete()[0] > 0
