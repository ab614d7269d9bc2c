"""The known word that a mistyped one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Returns the most similar of the known words. None: none of them is similar enough."""
    found = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None
