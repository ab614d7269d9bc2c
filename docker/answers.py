"""answers.py URL: exits with 0 if it answers 200 within ten seconds, else with 1 and a reason.

It serves the health checks, because the image has neither curl nor wget.
"""

from __future__ import annotations

import sys
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener


def problem(url: str) -> str | None:
    """Returns None if it answered 200. Uses no proxy, because the address is loopback."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
            return None if answer.status == 200 else f"answered {answer.status}"
    except HTTPError as error:
        return f"answered {error.code}: {error.read(500).decode(errors='replace')}"
    except (URLError, OSError) as error:
        return f"does not answer: {error}"


if __name__ == "__main__":
    said = problem(sys.argv[1])
    if said is not None:
        sys.exit(f"{sys.argv[1]} {said}")
