"""The examples of docs/alert-channels.md, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "alert-channels.md"


def example(name: str) -> Callable[..., Any]:
    """Returns the function of this name in the page's Python."""
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if f"def {name}(" in code:
            module: dict[str, Any] = {}
            exec(code, module)
            found: Callable[..., Any] = module[name]
            return found
    raise AssertionError(f"{PAGE} has no example {name}")
