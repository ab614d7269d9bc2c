"""The handler `command`, with real programs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation
from pydantic import ValidationError

from handlers import (
    BaseHandler,
    HandlerParams,
    InvalidParamsError,
    command,
    get_handler,
    handler,
    registry,
    validate_params,
)
from handlers.command.handler import CommandHandler
from handlers.errors import HandlerNotFoundError
from handlers.runner import Outcome, run_handler
from scheduler.conf import CommandSettings
from scheduler.operations.validation import call_problems
from tests.handlers.conftest import run_info

PYTHON = os.path.realpath(sys.executable)
ALLOWED = (PYTHON, "/bin/sh", "/bin/cat", "/nowhere/at/all")


@pytest.fixture(autouse=True)
def programs_are_allowed() -> None:
    command.install(ALLOWED, shell=True)


async def run(sink: Any, timeout_seconds: float = 20, **params: Any) -> Outcome:
    info = run_info("command", attempt=1, timeout_seconds=timeout_seconds)
    return await run_handler(info, params, sink, grace_seconds=1)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def test_lines_go_to_the_log_and_the_exit_code_decides(sink):
    outcome = await run(sink, argv=["/bin/sh", "-c", "echo one; echo two >&2; exit 3"])

    assert (outcome.kind, outcome.error) == ("FAILED", "Handler reported failure: exit code 3")
    assert outcome.retryable
    assert [text for _level, text in sink.lines] == ["one", "two"]
    assert outcome.result["data"]["exit_code"] == 3

    outcome = await run(sink, shell="exit 3", ok_codes=[0, 3])

    assert outcome.kind == "SUCCESS"


async def test_signal_that_ended_the_program_is_named(sink):
    outcome = await run(sink, shell="kill -9 $$")

    assert outcome.error == "Handler reported failure: ended by SIGKILL"
    assert outcome.result["data"]["signal"] == "SIGKILL"


async def test_program_gets_a_small_environment_a_folder_and_standard_input(
    sink, tmp_path, monkeypatch
):
    monkeypatch.setenv("JOBU_SECRET_KEY", "of the worker")
    monkeypatch.setenv("OF_THE_WORKER", "secret, too")

    await run(
        sink, shell="pwd; cat; env", cwd=str(tmp_path), env={"MINE": "1"}, stdin="typed\nlines\n"
    )

    assert [text for _level, text in sink.lines][:3] == [str(tmp_path), "typed", "lines"]
    assert "MINE=1" in sink.text
    assert "JOBU_EXECUTION_ID=7" in sink.text
    assert "JOBU_SCHEDULED_TIME=2025-01-10T10:00:00+00:00" in sink.text
    assert "OF_THE_WORKER" not in sink.text
    assert "JOBU_SECRET_KEY" not in sink.text


async def test_long_lines_binary_output_and_a_last_line_without_end_are_kept(sink):
    script = r"import os; os.write(1, b'x' * 10**6 + b'\n\xff\x00end\r\nlast')"

    outcome = await run(sink, argv=[PYTHON, "-c", script])

    long, binary, last = (text for _level, text in sink.lines)
    assert outcome.kind == "SUCCESS"
    assert long.endswith("x ... (cut)")
    assert len(long) <= 4096
    assert binary.startswith("\ufffd")
    assert binary.endswith("end")
    assert last == "last"


async def test_flood_of_lines_is_bounded_and_counted(sink):
    outcome = await run(sink, argv=[PYTHON, "-c", "print('y\\n' * 300_000)"])

    assert outcome.kind == "SUCCESS"
    assert len(sink.lines) == 100_001
    assert sink.lines[-1] == ("WARNING", "200001 more lines were not kept")


@pytest.mark.parametrize("ignores", [False, True])
async def test_timeout_ends_the_whole_group(sink, ignores):
    trap = "trap '' TERM; " if ignores else ""
    script = f"{trap}(sh -c '{trap}echo $$; while :; do sleep 0.1; done') & echo $$; wait"

    outcome = await run(sink, timeout_seconds=0.7, shell=script)

    pids = [int(text) for level, text in sink.lines if level == "INFO"]
    assert outcome.kind == "TIMEOUT"
    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert not outcome.leaked


async def test_cancelled_run_ends_its_program(sink):
    task = asyncio.create_task(run(sink, shell="echo $$; exec sleep 60"))
    while not sink.lines:  # noqa: ASYNC110 - the sink of these tests tells nobody
        await asyncio.sleep(0.01)
    task.cancel()

    outcome = await task

    assert outcome.kind == "CANCELLED"
    assert not is_alive(int(sink.lines[0][1]))


async def test_what_a_successful_program_leaves_in_its_group_is_ended(sink):
    outcome = await run(sink, shell="sleep 60 & echo $!")

    assert outcome.kind == "SUCCESS"
    assert outcome.ran_seconds < 10
    assert not is_alive(int(sink.lines[0][1]))


async def test_process_outside_of_the_group_does_not_hold_the_run(sink):
    outcome = await run(sink, shell="setsid sleep 3 & echo done")

    assert outcome.kind == "SUCCESS"
    assert outcome.ran_seconds < 2.5


async def test_program_or_folder_that_is_missing_fails_the_run(sink, tmp_path):
    outcome = await run(sink, argv=["/nowhere/at/all"])
    assert outcome.kind == "FAILED"
    assert "/nowhere/at/all" in outcome.error

    outcome = await run(sink, argv=["/bin/cat"], cwd=str(tmp_path / "gone"))
    assert outcome.kind == "FAILED"
    assert "gone" in outcome.error


async def test_program_that_everybody_may_write_is_not_run(sink, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(program)
    command.install([str(link)], shell=False)

    outcome = await run(sink, argv=[str(link)])
    assert (outcome.kind, outcome.retryable, sink.lines) == ("FAILED", False, [])

    program.chmod(0o755)
    assert (await run(sink, argv=[str(link)])).kind == "SUCCESS"


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({}, ""),
        ({"argv": ["/bin/cat"], "shell": "cat"}, ""),
        ({"argv": ["/usr/bin/env"]}, "argv"),
        ({"argv": ["cat"]}, "argv"),
        ({"argv": ["/bin/../bin/cat"]}, "argv"),
        ({"argv": ["/bin/cat"], "cwd": "here"}, "cwd"),
        ({"argv": ["/bin/cat"], "env": {"LD_PRELOAD": "/tmp/x.so"}}, "env"),
        ({"argv": ["/bin/cat"], "env": {"A B": "1"}}, "env"),
        ({"argv": ["/bin/cat"], "ok_codes": []}, "ok_codes"),
        ({"argv": ["/bin/cat"], "ok_codes": [256]}, "ok_codes.0"),
        ({"argv": ["/bin/cat"], "user": "root"}, "user"),
    ],
)
async def test_params_that_cannot_run_are_refused_at_the_door_and_when_they_run(
    sink, params, place
):
    with pytest.raises(InvalidParamsError) as refused:
        validate_params("command", params)
    assert [error.loc for error in refused.value.errors] == [place]

    outcome = await run(sink, **params)
    assert (outcome.kind, sink.lines) == ("INVALID", [])


def test_shell_is_off_unless_asked_for():
    command.install(["/bin/cat"], shell=False)

    with pytest.raises(InvalidParamsError, match="shell: is off here"):
        validate_params("command", {"shell": "cat"})


def test_handler_says_what_to_set_where_it_is_off_and_leaves_its_name_free():
    with registry.restored():
        registry.forget_module(CommandHandler.__module__)
        command.install([], shell=False)

        with pytest.raises(HandlerNotFoundError, match=r"worker\.commands\.allow"):
            get_handler("command")

        class Own(BaseHandler):
            async def execute(self, params: HandlerParams) -> None: ...

        handler("command")(Own)
        assert get_handler("command") is Own


def test_schema_names_the_allowed_programs():
    assert "/bin/cat" in str(get_handler("command").params_model.model_json_schema())


@pytest.mark.parametrize("path", ["rsync", "/usr/bin/../bin/rsync", "/usr/bin/", ""])
def test_settings_refuse_what_is_no_absolute_path(path):
    with pytest.raises(ValidationError, match="absolute path of a program"):
        CommandSettings(allow=(path,))


def test_door_refuses_a_program_in_the_language_of_the_person():
    with translation.override("en"):
        refused = call_problems("command", {"argv": ["/usr/bin/env"]}, params_field="params")
    with translation.override("ko"):
        korean = call_problems("command", {"argv": ["/usr/bin/env"]}, params_field="params")
    assert refused == {
        "params": [
            "Invalid params: argv: begins with a program that worker.commands.allow does not name"
        ]
    }
    assert "worker.commands.allow에 없는 프로그램" in korean["params"][0]

    with registry.restored(), translation.override("en"):
        registry.forget_module(CommandHandler.__module__)
        command.install([], shell=False)
        off = call_problems("command", {}, params_field="params")
    assert off == {"handler_name": [f"Handler not found: command: {command.OFF}"]}
