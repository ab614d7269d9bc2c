"""Failed attempts to sign in: count one, forget them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from django.db import IntegrityError, transaction

from scheduler.models import SignInFailures


def lock(key_hash: str, *, now: datetime) -> SignInFailures:
    """Returns the locked row of this name and address. A new one has no failures."""
    rows = SignInFailures.objects.select_for_update().filter(key_hash=key_hash)
    found = rows.first()
    if found is None:
        # Another process may insert it at the same moment.
        with suppress(IntegrityError), transaction.atomic():
            SignInFailures.objects.create(key_hash=key_hash, failures=0, last_at=now)
        found = rows.get()
    return found


def count(row: SignInFailures, *, failures: int, now: datetime) -> None:
    SignInFailures.objects.filter(pk=row.pk).update(failures=failures, last_at=now)


def forget(key_hash: str) -> None:
    SignInFailures.objects.filter(key_hash=key_hash).delete()


def forget_older(than: datetime) -> None:
    SignInFailures.objects.filter(last_at__lt=than).delete()
