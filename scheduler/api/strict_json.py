"""Parses bodies: strict JSON of limited size and depth. An error says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.parser import Parser

from handlers.params import has_lone_surrogate
from scheduler.api.errors import ApiError

MAX_BODY_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32


class StrictParser(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        return parse(request.body)


def check_kind(request: HttpRequest) -> None:
    """Raises ApiError for a body that is too large or is not declared as JSON. Does not read it."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if length > MAX_BODY_BYTES:
        raise too_large()
    if length and request.content_type != "application/json":
        raise ApiError(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            _("send the body as JSON, with the header Content-Type: application/json"),
        )


def too_large() -> ApiError:
    message = _("the body has more than %(limit)s bytes") % {"limit": MAX_BODY_BYTES}
    return ApiError(413, "BODY_TOO_LARGE", message)


def parse(body: bytes) -> Any:
    """Returns the value of a JSON body.

    Raises ApiError (400) for text that is not JSON, has a key twice, holds NaN, NUL or half of a
    surrogate pair, or is nested too deeply.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestDataTooBig
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(_("is not UTF-8: byte %(place)s") % {"place": error.start}, error)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = {"line": error.lineno, "column": error.colno, "problem": error.msg}
        _refuse(_("line %(line)s, column %(column)s: %(problem)s") % place, error)
    except RecursionError as error:
        _refuse(_("is nested more than %(limit)s levels deep") % {"limit": MAX_DEPTH}, error)
    except ValueError as error:  # an integer of thousands of digits
        _refuse(_("holds a number that is too long"), error)
    _check(value, 1)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _refuse(_("has the key %(key)s twice") % {"key": ascii(key)})
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse(_("%(name)s is no JSON") % {"name": name})


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        _refuse(_("is nested more than %(limit)s levels deep") % {"limit": MAX_DEPTH})
    if isinstance(value, str):
        if "\0" in value:
            _refuse(_("a text contains the character NUL"))
        if has_lone_surrogate(value):
            _refuse(_("a text contains half of a surrogate pair"))
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        _refuse(_("holds a number that is too large"))
    elif isinstance(value, Mapping):
        for key, member in value.items():
            _check(key, depth)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    message = _("the body cannot be read: %(reason)s") % {"reason": reason}
    raise ApiError(400, "INVALID_JSON", message) from cause
