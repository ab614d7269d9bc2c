"""Tasks that note each of their runs in a file, so that a test can count them."""

from __future__ import annotations

import os
from importlib import import_module

from scheduler.django_tasks.compat import FRAMEWORK

task = import_module(FRAMEWORK).task


@task
def note(text: str) -> None:
    # One write of a line is not mixed with that of another process.
    descriptor = os.open(os.environ["JOBU_TEST_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


@task
async def note_async(text: str) -> None:
    note.func(text)
