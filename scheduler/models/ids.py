"""The range of ids."""

from __future__ import annotations

from typing import Final

#: The largest id that a column of type bigint holds. A larger number in a query is an error of the
#: driver, so every door refuses it or compares with this one instead.
LARGEST_ID: Final = 2**63 - 1


def bounded_id(digits: str) -> int:
    """Returns the number that a person typed as digits, at most LARGEST_ID: no row has that id."""
    return min(int(digits[:19]), LARGEST_ID)
