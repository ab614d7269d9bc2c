"""Values that look like secrets are never shown: `mask` hides them, `unmask` restores them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.operations.secret_names import replace_in_urls, secret_members, secrets_in_urls

MASK = "********"
# Deeper levels are shown as TOO_DEEP. jobu refuses such values, but SQL can write them, and a page
# that recursed through all levels would fail.
_DEEPEST = 100
TOO_DEEP = "(nested too deep)"


def mask(value: Any) -> Any:
    """Returns a copy of a JSON value without its secrets: everything below the key of a secret, and
    the passwords in URLs.
    """
    return _masked(value, _DEEPEST)


def _masked(value: Any, levels: int) -> Any:
    if isinstance(value, (Mapping, list)) and not levels:
        return TOO_DEEP
    if isinstance(value, Mapping):
        secrets = secret_members(value)
        return {
            key: _hide(member) if key in secrets else _masked(member, levels - 1)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_masked(member, levels - 1) for member in value]
    if isinstance(value, str):
        return replace_in_urls(value, lambda _secret: MASK)
    return value


def unmask(typed: Any, stored: Any) -> Any:
    """Returns `typed` with each mask replaced by the value that it hides in `stored`.

    A mask stays a mask where nothing is stored: see `left_masked`.
    """
    if isinstance(typed, Mapping):
        members = stored if isinstance(stored, Mapping) else {}
        secrets = secret_members(members)
        restored = {
            **typed,
            **{key: members[key] for key in secrets if typed.get(key) == MASK},
        }
        # Not {"name": "HOST", "value": MASK} where {"name": "API_KEY", ...} is stored.
        secrets &= secret_members(restored)
        return {
            key: members[key]
            if member == MASK and key in secrets
            else unmask(member, members.get(key))
            for key, member in typed.items()
        }
    if isinstance(typed, list):
        return _unmask_items(typed, stored if isinstance(stored, list) else [])
    if isinstance(typed, str) and isinstance(stored, str) and typed == mask(stored):
        return stored  # a URL; one with another host does not get the password
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
    elif isinstance(value, str) and (value == MASK or MASK in secrets_in_urls(value)):
        yield path


def _hide(value: Any) -> Any:
    """Returns the mask. An empty value is returned as it is, because it holds no secret."""
    return value if value in (None, "", [], {}) else MASK
