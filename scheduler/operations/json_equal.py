"""Whether two JSON values are equal. In Python 1 == 1.0 == True; in JSON these are three values."""

from __future__ import annotations

import json
from typing import Any


def json_equal(one: Any, other: Any) -> bool:
    """Returns whether a JSON column would hold the same value. The order of keys does not count.

    A value that is not JSON, or nested too deep to be written, equals only itself.
    """
    if one is other:
        return True
    try:
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return False
