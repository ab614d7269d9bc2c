"""Whether two JSON values are one. For Python's `==` 1, 1.0 and true are the same; for JSON not."""

from __future__ import annotations

import json
from typing import Any


def json_equal(one: Any, other: Any) -> bool:
    """True when a JSON column would hold the same; the order of keys does not count.

    What is no JSON, or nested too deep to be written, is only the same as itself.
    """
    if one is other:
        return True
    try:
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return False
