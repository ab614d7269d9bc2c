"""Values that look like secrets are never shown: `mask` hides them, `unmask` restores them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "********"
# Deeper levels are shown as TOO_DEEP. jobu refuses such values, but SQL can write them, and a page
# that recursed through all levels would fail.
_DEEPEST = 100
TOO_DEEP = "(nested too deep)"

_WORDS = frozenset(
    {"key", "keys", "pwd", "passwd", "pass", "credential", "credentials", "auth", "dsn"}
)
_PARTS = ("password", "passphrase", "secret", "token", "authorization", "apikey", "privatekey")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def looks_secret(key: str) -> bool:
    """True for `password`, `apiKey`, `X-Auth-Token`, `ssh_key`; false for `monkey` or `author`."""
    if any(part in re.sub(r"[^a-z]", "", key.lower()) for part in _PARTS):
        return True
    return any(word.lower() in _WORDS for word in _WORD.findall(key))


def mask(value: Any) -> Any:
    """Returns a copy of a JSON value with everything below the key of a secret hidden."""
    return _masked(value, _DEEPEST)


def _masked(value: Any, levels: int) -> Any:
    if isinstance(value, (Mapping, list)) and not levels:
        return TOO_DEEP
    if isinstance(value, Mapping):
        return {
            key: _hide(member) if looks_secret(str(key)) else _masked(member, levels - 1)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_masked(member, levels - 1) for member in value]
    return value


def unmask(typed: Any, stored: Any) -> Any:
    """Returns `typed` with each mask replaced by the value that it hides in `stored`.

    A mask stays a mask where nothing is stored: see `left_masked`.
    """
    if isinstance(typed, Mapping):
        members = stored if isinstance(stored, Mapping) else {}
        return {
            key: members[key]
            if member == MASK and looks_secret(key) and key in members
            else unmask(member, members.get(key))
            for key, member in typed.items()
        }
    if isinstance(typed, list):
        return _unmask_items(typed, stored if isinstance(stored, list) else [])
    return typed


def _unmask_items(typed: list[Any], stored: list[Any]) -> list[Any]:
    """Restores the secrets in the items of a list, which have no names to match them by.

    A typed item that looks like a stored item when masked is that item, also at another place. A
    changed item gets the secrets of its place if no item was added or removed. A mask stays if it
    is not clear which secret it hides.
    """
    same_length = len(typed) == len(stored)
    shown = _places_by_look([mask(item) for item in stored])
    origins: dict[int, int] = {}
    for look, places in _places_by_look(typed).items():
        free = shown.get(look, [])
        if same_length:
            stayed = set(places).intersection(free)
            origins |= {place: place for place in stayed}
            places = [place for place in places if place not in stayed]
            free = [place for place in free if place not in stayed]
        # If one of several items that look alike was removed, it is not clear which.
        if len(free) <= len(places) or all(stored[place] == stored[free[0]] for place in free):
            origins |= dict(zip(places, free, strict=False))
    taken = set(origins.values())
    found = []
    for place, item in enumerate(typed):
        if place in origins:
            found.append(stored[origins[place]])
        else:
            below = stored[place] if same_length and place not in taken else None
            found.append(unmask(item, below))
    return found


def _places_by_look(items: list[Any]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(json.dumps(item, sort_keys=True, default=repr), []).append(place)
    return places


def left_masked(value: Any, path: str = "") -> Iterator[str]:
    """Yields the places that hold a mask instead of a value."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from left_masked(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from left_masked(member, f"{path}[{index}]")
    elif value == MASK:
        yield path


def _hide(value: Any) -> Any:
    """Returns the mask. An empty value is returned as it is, because it holds no secret."""
    return value if value in (None, "", [], {}) else MASK
