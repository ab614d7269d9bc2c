"""The launcher's supervisor, with small real programs as parts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobu_project.launcher.supervisor import (
    EXIT_FOR_RESTART,
    USEFUL_SECONDS,
    Child,
    Log,
    Part,
    describe_exit,
    restart_seconds,
)
from tests.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent

# A launcher with two parts. Their programs are arguments; `first` stops before `second`.
LAUNCHER = """
import os, signal, sys
from pathlib import Path
from jobu_project.launcher.supervisor import Part, Supervisor
parts = [
    Part(
        name=name,
        argv=[sys.executable, "-u", "-c", program],
        env=dict(os.environ),
        cwd=Path.cwd(),
        stop_seconds=float(os.environ.get("STOP_SECONDS", "10")),
    )
    for name, program in zip(["second", "first"], sys.argv[1:])
]
# The tests may run under nohup, and child processes inherit its ignored signals.
signal.signal(signal.SIGHUP, signal.SIG_IGN if "NOHUP" in os.environ else signal.SIG_DFL)
sys.exit(Supervisor(parts, stop_order=["first", "second"]).run())
"""
WAITS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye")))
print("up")
signal.pause()
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
while True:
    signal.pause()
"""
DIES = "print('up'); raise SystemExit(3)"
HAS_A_CHILD = (
    """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
"""
    + WAITS
)


class Launcher:
    def __init__(self, log: Path, *programs: str, **environment: str) -> None:
        self._log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, *programs],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self, name: str) -> list[str]:
        """Returns the lines of one part without their prefix."""
        found = [line.partition(" | ") for line in self.log.splitlines()]
        return [text for prefix, _, text in found if prefix.strip() == name]

    def wait_for_log(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times, 20, text, details=lambda: self.log)

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            left = self.children()
            self.process.kill()
            for child in left:
                child.kill()
        self.process.wait(10)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[type[Launcher]]:
    made: list[Launcher] = []

    class Here(Launcher):
        def __init__(self, *programs: str, **environment: str) -> None:
            super().__init__(tmp_path / f"log{len(made)}", *programs, **environment)
            made.append(self)

    yield Here
    for launcher in made:
        launcher.close()


def are_gone(processes: list[psutil.Process]) -> bool:
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


pytestmark = pytest.mark.processes


def test_one_ctrl_c_stops_the_parts_one_after_the_other(launch) -> None:
    launcher = launch(WAITS, WAITS)
    launcher.wait_for_log("up", times=2)
    children = launcher.children()
    assert len(children) == 2

    assert launcher.stop() == 0

    assert are_gone(children)
    farewells = [line for line in launcher.log.splitlines() if "bye" in line]
    assert [line.split()[0] for line in farewells] == ["first", "second"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_stop_the_parts_like_ctrl_c(launch, number) -> None:
    launcher = launch(WAITS)
    launcher.wait_for_log("up")

    launcher.process.send_signal(number)

    assert launcher.process.wait(20) == 0
    assert launcher.lines("second")[-1] == "bye"


def test_under_nohup_a_closed_terminal_stops_nothing(launch) -> None:
    launcher = launch(WAITS, NOHUP="1")
    launcher.wait_for_log("up")

    launcher.process.send_signal(signal.SIGHUP)

    assert launcher.stop() == 0
    assert "SIGINT: stopping" in launcher.log
    assert "SIGHUP" not in launcher.log


def test_second_ctrl_c_kills_what_does_not_stop(launch) -> None:
    launcher = launch(STUBBORN, STUBBORN)
    launcher.wait_for_log("up", times=2)
    children = launcher.children()

    launcher.process.send_signal(signal.SIGINT)
    launcher.wait_for_log("SIGINT: stopping")
    threading.Event().wait(
        0.7
    )  # long enough to count as a second Ctrl-C, not as a repetition of the first
    launcher.process.send_signal(signal.SIGINT)

    assert launcher.process.wait(5) == 1
    wait_until(lambda: are_gone(children), 5, "the children to be gone")


def test_second_signal_right_after_the_first_kills_nothing(launch) -> None:
    launcher = launch(WAITS, STUBBORN, STOP_SECONDS="1")
    launcher.wait_for_log("up", times=2)

    launcher.process.send_signal(signal.SIGINT)
    launcher.wait_for_log("SIGINT: stopping")
    launcher.process.send_signal(signal.SIGINT)

    assert launcher.process.wait(10) == 0
    assert launcher.lines("second")[-1] == "bye"


def test_part_that_does_not_stop_in_its_time_is_killed(launch) -> None:
    launcher = launch(STUBBORN, STOP_SECONDS="0.5")
    launcher.wait_for_log("up")
    children = launcher.children()

    assert launcher.stop() == 0

    assert "second did not stop within" in launcher.log
    assert are_gone(children)


def test_ctrl_c_in_the_terminal_does_not_reach_the_parts(launch) -> None:
    launcher = launch(WAITS)
    launcher.wait_for_log("up")

    (child,) = launcher.children()

    assert os.getpgid(child.pid) == child.pid != os.getpgid(launcher.process.pid)


def test_killed_part_is_restarted_and_the_restart_is_logged(launch) -> None:
    launcher = launch(WAITS, WAITS)
    launcher.wait_for_log("up", times=2)

    launcher.children()[0].kill()

    launcher.wait_for_log("up", times=3)
    assert "second was killed by SIGKILL; starting it again in 1 s" in launcher.lines("jobu")
    assert launcher.stop() == 0


def test_wait_grows_while_a_part_keeps_ending_early(launch) -> None:
    launcher = launch(DIES, WAITS)

    launcher.wait_for_log("starting it again in 4 s")

    restarts = [line for line in launcher.lines("jobu") if "exit code 3" in line]
    assert [line.rpartition(" in ")[2] for line in restarts] == ["1 s", "2 s", "4 s"]
    assert launcher.stop() == 0


def test_waits_double_up_to_half_a_minute() -> None:
    waits = [restart_seconds(deaths) for deaths in (1, 2, 3, 4, 5, 6, 7, 1000)]

    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_worker_that_asks_for_a_restart_gets_it_at_once_unless_it_does_nothing_else() -> None:
    child = Child(Part(name="worker", argv=[], env={}, cwd=ROOT))
    child._started_at = time.monotonic()

    waits = [child.plan_restart(EXIT_FOR_RESTART) for _ in range(7)]
    child._started_at = time.monotonic() - USEFUL_SECONDS

    assert waits == [0, 0, 0, 0, 0, 1, 2]
    assert child.plan_restart(EXIT_FOR_RESTART) == 0


def test_part_that_asks_for_a_restart_comes_back_at_once(launch) -> None:
    launcher = launch("import os; print('up'); os._exit(75)")

    launcher.wait_for_log("ended with exit code 75; starting it again in 0 s")


def test_part_that_waits_for_its_restart_does_not_delay_the_stop(launch) -> None:
    launcher = launch(DIES)
    launcher.wait_for_log("starting it again in 2 s")

    assert launcher.stop() == 0


def test_children_of_a_dead_part_are_killed(launch) -> None:
    launcher = launch(HAS_A_CHILD)
    launcher.wait_for_log("up")
    parent, child = launcher.children()

    parent.kill()

    wait_until(lambda: are_gone([child]), 10, "the grandchild to be gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
def test_parts_end_when_the_supervisor_is_killed(launch) -> None:
    launcher = launch(WAITS, WAITS)
    launcher.wait_for_log("up", times=2)
    children = launcher.children()

    launcher.process.kill()

    wait_until(lambda: are_gone(children), 10, "the parts to end")


def test_restarted_part_also_ends_when_the_supervisor_is_killed(launch) -> None:
    launcher = launch(WAITS)
    launcher.wait_for_log("up")
    launcher.children()[0].kill()
    launcher.wait_for_log("up", times=2)
    (again,) = launcher.children()

    launcher.process.kill()

    wait_until(lambda: are_gone([again]), 10, "the restarted part to end")


def test_every_output_line_has_a_prefix_even_if_it_is_not_text(launch) -> None:
    program = textwrap.dedent(
        """
        import sys
        sys.stdout.buffer.write("한국어\\n".encode() + b"\\xff\\n\\nerr")
        sys.stdout.flush()
        sys.stderr.write("or\\n" + "x" * 200_000 + "\\n")
        """
    )
    launcher = launch(program + WAITS)
    launcher.wait_for_log("up")

    lines = launcher.lines("second")

    assert lines[:4] == ["한국어", "\N{REPLACEMENT CHARACTER}", "", "error"]
    assert "".join(lines[4:-1]) == "x" * 200_000


def test_parts_keep_running_if_the_output_is_not_read(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    program = f"print('x' * 1_000_000); open({str(marker)!r}, 'w').close()" + WAITS
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, program], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert launcher.stdout is not None
    launcher.stdout.close()
    try:
        wait_until(marker.exists, 20, "the part to get rid of its output")
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait(20) == 0
    finally:
        launcher.kill()
        launcher.wait(10)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_output_is_coloured_only_on_a_terminal_without_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, plain, refused = Terminal(), io.StringIO(), Terminal()
    Log(terminal, ["web", "worker"]).line("web", "hello")
    Log(plain, ["web", "worker"]).line("web", "hello")
    monkeypatch.setenv("NO_COLOR", "1")
    Log(refused, ["web", "worker"]).line("web", "hello")

    assert terminal.getvalue() == "\x1b[36mweb    |\x1b[0m hello\n"
    assert plain.getvalue() == refused.getvalue() == "web    | hello\n"


def test_description_of_an_exit_names_the_code_or_the_signal() -> None:
    assert describe_exit(0) == "ended with exit code 0"
    assert describe_exit(-signal.SIGSEGV) == "was killed by SIGSEGV"


def test_lines_of_several_threads_do_not_mix() -> None:
    out = io.StringIO()
    log = Log(out, ["a", "b"])

    def write(name: str) -> None:
        for _ in range(200):
            log.line(name, name * 50)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(out.getvalue().splitlines()) == {f"a | {'a' * 50}", f"b | {'b' * 50}"}
