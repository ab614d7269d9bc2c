"""Makes links of the addresses of runs on Flower's page of a task, which shows them as texts."""

from __future__ import annotations

import re
from typing import Any


def install(link_base: str) -> None:
    """Call it in Flower's process, before Flower starts. `link_base`: "" where none is known."""
    if not link_base:
        return
    from flower.views.tasks import TaskView

    render = TaskView.render_string

    def render_string(handler: Any, name: str, **values: Any) -> bytes:
        return with_links(render(handler, name, **values), link_base)

    TaskView.render_string = render_string


def with_links(page: bytes, link_base: str) -> bytes:
    """The page with a link for each address of a run. Flower has escaped all that events say."""
    base = re.escape(link_base.encode())
    address = rb"(%s/scheduler/jobexecution/[0-9]{1,19}/change/)" % base
    return re.sub(address, rb'<a href="\1">\1</a>', page)
