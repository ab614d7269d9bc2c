"""Authentication and permissions of a request: by a session (with CSRF) or by a token.

A token acts as its user, with at most that user's permissions and only within its scopes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from scheduler.api.errors import ApiError, unauthenticated
from scheduler.api.strict_json import check_kind
from scheduler.clock import DatabaseClock
from scheduler.models import ApiToken
from scheduler.operations.keys import hash_of
from scheduler.operations.permissions import SCOPE, Action, may
from scheduler.store import tokens
from scheduler.store.connection import database_now

# `last_used_at` is for people, so a write at most once a minute is enough.
_USED_AGAIN_AFTER: Final = timedelta(minutes=1)
# The clock is cached for 5 seconds: to read the database's clock costs a query for each request.
_clock = DatabaseClock(database_now, max_age_seconds=5)


@dataclass(frozen=True, kw_only=True)
class Caller:
    user: Any
    token: ApiToken | None = None

    @property
    def name(self) -> str:
        return str(self.user.get_username())

    @property
    def shown(self) -> str:
        """The name for the request log. With the token's name, to find a token that is misused."""
        return f"{self.name} (token {self.token.name})" if self.token else self.name

    def may(self, action: Action) -> bool:
        if self.token is not None and SCOPE[action] not in self.token.scopes:
            return False
        return may(self.user, action)

    def require(self, action: Action) -> None:
        """Raises ApiError (403) with the missing scope or permission if `action` is forbidden."""
        self.require_of_user(action)
        if not self.may(action):
            message = _("the token lacks the scope %(scope)s, which this needs: %(action)s")
            words = {"scope": SCOPE[action], "action": _(action.value)}
            raise ApiError(403, "SCOPE_MISSING", message % words)

    def require_of_user(self, action: Action) -> None:
        """Like `require`, but checks only the user's permission and not the token's scopes."""
        if not may(self.user, action):
            message = _("%(user)s may not: %(action)s")
            words = {"user": self.name, "action": _(action.value)}
            raise ApiError(403, "FORBIDDEN", message % words)


class TokenAuth(AuthBase):
    """Accepts a token in the header `Authorization: Bearer jobu_...`."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "A token, made in the admin under API tokens."

    def __init__(self, action: Action | None) -> None:
        self.action = action
        super().__init__()

    def __call__(self, request: HttpRequest) -> Caller | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _space, key = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated(_("only Authorization: Bearer is understood here"))
        return _admit(request, caller_of_key(key.strip()), self.action)


class SessionAuth(AuthBase):
    """Accepts the session cookie of the admin."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = "sessionid"
    openapi_description = "The admin's session; changes need the header X-CSRFToken, too."
    csrf = True  # ninja's Swagger page then sends the header

    def __init__(self, action: Action | None) -> None:
        self.action = action
        super().__init__()

    def __call__(self, request: HttpRequest) -> Caller | None:
        user: Any = request.user
        if not user.is_authenticated or not user.is_active:
            return None
        caller = Caller(user=user)
        request.caller = caller  # type: ignore[attr-defined]  # for the request log
        check_kind(request)
        if request.method not in ("GET", "HEAD", "OPTIONS") and check_csrf(request):
            message = _("send the header X-CSRFToken with the value of the cookie csrftoken")
            raise ApiError(403, "CSRF_FAILED", message)
        return _admit(request, caller, self.action)


def needs(action: Action | None) -> list[Callable[[HttpRequest], Caller | None]]:
    """Returns the `auth` of an API operation. None: any authenticated caller may use it."""
    return [TokenAuth(action), SessionAuth(action)]


def caller_of(request: HttpRequest) -> Caller:
    caller = request.auth  # type: ignore[attr-defined]
    assert isinstance(caller, Caller)
    return caller


def identify(request: HttpRequest) -> Caller | None:
    """Returns the caller on a page outside of ninja's operations. None: nobody is authenticated.

    Raises ApiError for a bad token or a missing CSRF header.
    """
    for auth in needs(None):
        caller = auth(request)
        if caller is not None:
            return caller
    return None


def _admit(request: HttpRequest, caller: Caller, action: Action | None) -> Caller:
    request.caller = caller  # type: ignore[attr-defined]
    request.user = caller.user
    check_kind(request)
    if action is not None:
        caller.require(action)
    return caller


def caller_of_key(key: str) -> Caller:
    """Returns the caller whose token has this key.

    Raises ApiError (401) when the key is unknown, revoked or expired, or its user is not active.
    """
    token = ApiToken.objects.select_related("user").filter(key_hash=hash_of(key)).first()
    if token is None:
        raise unauthenticated(_("there is no such token"))
    now = _clock.now()
    if token.revoked_at is not None:
        raise unauthenticated(_("this token was revoked"))
    if token.expires_at is not None and token.expires_at <= now:
        raise unauthenticated(_("this token has expired"))
    if not token.user.is_active:
        raise unauthenticated(_("the user of this token is not active"))
    if token.last_used_at is None or now - token.last_used_at > _USED_AGAIN_AFTER:
        tokens.used(token.pk, now=now)
    return Caller(user=token.user, token=token)
