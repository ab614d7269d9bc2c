"""Keys of API tokens: a key is made here, shown once and stored only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext

from scheduler.models import ApiToken
from scheduler.operations.base import Operations
from scheduler.operations.errors import NotPossible
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import tokens
from scheduler.transient import in_transaction

PREFIX: Final = "jobu_"
_SHOWN: Final = len(PREFIX) + 6


@dataclass(frozen=True, kw_only=True)
class TokenControl(Operations):
    """The operations on API tokens."""

    def create(
        self, user: Any, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None
    ) -> tuple[ApiToken, str]:
        """Returns a saved token and its key. The key is 256 random bits and is not stored."""
        key = PREFIX + secrets.token_urlsafe(32)

        def work() -> ApiToken:
            now = self.clock.now()
            token = tokens.create(
                user,
                name=name,
                scopes=scopes,
                prefix=key[:_SHOWN],
                key_hash=hash_of(key),
                expires_at=expires_at,
                created_at=now,
            )
            self._remember_token(ActivityVerb.CREATED, token, now, user=str(user.get_username()))
            return token

        return in_transaction(work), key

    def revoke(self, token: ApiToken) -> None:
        """Revokes the token: it is refused from now on. NotPossible: it was revoked before."""

        def work() -> None:
            now = self.clock.now()
            if not tokens.revoke(token.pk, now=now):
                raise NotPossible(
                    gettext("%(token)s was revoked before") % {"token": token},
                    general=gettext("it was revoked before"),
                )
            self._remember_token(ActivityVerb.REVOKED, token, now)

        in_transaction(work)

    def delete(self, token: ApiToken) -> None:
        """Deletes the token."""
        token_id = token.pk

        def work() -> None:
            if tokens.delete(token_id):
                self._remember_token(ActivityVerb.DELETED, token, self.clock.now())

        in_transaction(work)

    def _remember_token(
        self, verb: ActivityVerb, token: ApiToken, now: datetime, **facts: Any
    ) -> None:
        scopes = {"scopes": list(token.scopes)}
        self._remember(verb, TargetKind.TOKEN, token.pk, token.name, now, scopes | facts)


def hash_of(key: str) -> str:
    """Returns the hash under which a key is stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
