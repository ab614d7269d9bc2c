"""API tokens: create, note a use, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scheduler.models import ApiToken


def create(
    user: Any,
    *,
    name: str,
    scopes: Sequence[str],
    prefix: str,
    key_hash: str,
    expires_at: datetime | None,
    created_at: datetime,
) -> ApiToken:
    """Insert a token."""
    return ApiToken.objects.create(
        user=user,
        name=name,
        scopes=list(scopes),
        prefix=prefix,
        key_hash=key_hash,
        expires_at=expires_at,
        created_at=created_at,
    )


def delete(token_id: int) -> bool:
    """Remove a token. False: it is gone already."""
    return ApiToken.objects.filter(pk=token_id).delete()[0] > 0


def used(token_id: int, *, now: datetime) -> None:
    ApiToken.objects.filter(pk=token_id).update(last_used_at=now)


def revoke(token_id: int, *, now: datetime) -> bool:
    """False: it was revoked before."""
    return bool(ApiToken.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=now))
