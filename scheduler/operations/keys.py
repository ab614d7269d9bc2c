"""Keys of API tokens: made here, shown once, kept only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from scheduler.models import ApiToken
from scheduler.store import tokens

PREFIX: Final = "jobu_"
_SHOWN: Final = len(PREFIX) + 6


def give_key(token: ApiToken) -> str:
    """Put a new key of 256 random bits on an unsaved token. Gives the key, kept nowhere else."""
    key = PREFIX + secrets.token_urlsafe(32)
    token.prefix, token.key_hash = key[:_SHOWN], hash_of(key)
    return key


def make_token(
    user: Any, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A saved token and its key."""
    token = ApiToken()
    key = give_key(token)
    made = tokens.create(
        user,
        name=name,
        scopes=scopes,
        prefix=token.prefix,
        key_hash=token.key_hash,
        expires_at=expires_at,
    )
    return made, key


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
