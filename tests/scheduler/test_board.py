"""The memory that a worker shares with its children."""

from __future__ import annotations

import os
import threading

import pytest

from scheduler.worker.board import Board, BoardFullError


def test_child_sees_what_its_parent_writes_later():
    board = Board()
    read_end, write_end = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(told, 1)
        seen = f"{board.events_on} {board.others_wait} {board.queues}"
        os.write(write_end, seen.encode())
        os._exit(0)

    board.events_on, board.others_wait, board.queues = True, 70_000, ("기본", "celery")
    os.write(tell, b"!")

    assert os.read(read_end, 1000).decode() == "True 70000 ('기본', 'celery')"
    os.waitpid(child, 0)


def test_reader_never_sees_half_of_the_names():
    """The names of the two lists have other lengths, so that a mixture would show."""
    board = Board()
    lists = [tuple(f"{letter}{n}" * 7 for n in range(500)) for letter in ("a", "bcd")]
    board.queues = lists[0]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for names in lists:
                board.queues = names

    writer = os.fork()  # another process: threads of one take turns
    if writer == 0:
        threading.Timer(1, lambda: os._exit(0)).start()
        write()
    seen = set()
    while os.waitpid(writer, os.WNOHANG) == (0, 0):
        seen.add(board.queues)

    assert seen == set(lists)


def test_names_that_do_not_fit_are_refused_and_change_nothing():
    board = Board()
    board.queues = ("celery",)

    with pytest.raises(BoardFullError, match="200 queues"):
        board.queues = ["x" * 255] * 200

    assert board.queues == ("celery",)
