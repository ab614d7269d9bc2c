"""The faults of a soak, and the beats and workers that they hit."""

from __future__ import annotations

import heapq
import itertools
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from kombu.connection import Connection

from bench.soak.history import Fault
from bench.soak.sabotage import CRASH_VARIABLE, FREEZE_VARIABLE
from scheduler.failpoints import POINTS
from tests.harness.servers import RabbitMQ, Redis, Server
from tests.harness.system import Part, System

# The threads pool exits with this if it cannot stop a handler: scheduler/worker/process.py.
EXIT_FOR_RESTART = 75
# Inside the transaction that locks due jobs.
FREEZE_POINTS = ("record.locked", "record.inserted", "record.advanced")
FROZEN_SECONDS = MUTE_SECONDS = 30.0
# A beat that has frozen nowhere by then found no due job.
FREEZES_WITHIN_SECONDS = 30.0
# The crash points that each kind of process passes in a soak.
_OF = {
    "beat": ("record.", "wakeup.", "rescue.", "waits."),
    "worker": ("claim.", "run.", "end.", "overlap.", "shards."),
}


@dataclass
class Seat:
    """A place for one beat or worker. When its process has ended, another one replaces it."""

    kind: str  # beat or worker
    number: int
    pool: str = ""
    part: Part | None = None
    name: str = ""  # the name that the process writes into the tables
    is_paused: bool = False
    is_armed: bool = False
    was_stopped: bool = False  # for longer than a lease

    @property
    def is_up(self) -> bool:
        return self.part is not None and self.part.is_alive and not self.is_paused


class Faults:
    """Makes faults, and repairs each of them after a random time."""

    def __init__(
        self,
        system: System,
        *,
        broker: Server | None,
        database: Server | None,
        beats: int,
        workers: int,
        dice: random.Random,
        lease_seconds: float,
        drain_seconds: float,
        note: Callable[[str], None],
    ) -> None:
        self._system = system
        self._broker = broker
        self._database = database
        self._dice = dice
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._note = note
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_mute = False
        self._is_healing = False
        self.done: list[Fault] = []
        self.deaths: list[str] = []
        self.seats = [Seat("beat", number) for number in range(beats)]
        # Workers with the prefork and with the threads pool in turn.
        self.seats += [
            Seat("worker", number, pool="prefork" if number % 2 == 0 else "threads")
            for number in range(workers)
        ]
        self.kinds: dict[str, Callable[[], None]] = {
            "kill-beat": lambda: self._kill("beat"),
            "kill-worker": lambda: self._kill("worker"),
            "stop-worker": self._stop_worker,
            "pause-beat": self._pause_beat,
            "drain-worker": self._drain_worker,
            "crash-beat": lambda: self._crash("beat"),
            "crash-worker": lambda: self._crash("worker"),
            "freeze-beat": self._freeze_beat,
            "mute-broker": self._mute_broker,
            "flush-broker": self._flush_broker,
            "restart-broker": lambda: self._restart("restart-broker", broker),
            "restart-database": lambda: self._restart("restart-database", database),
        }

    def missing(self) -> dict[str, str]:
        """Returns the faults that are impossible with these servers and workers, and why."""
        reasons = {}
        if self._database is None:
            reasons["restart-database"] = "SQLite has no server"
            reasons["freeze-beat"] = "SQLite's lock is on the whole file: everything waits with it"
        elif not self._database.is_restartable:
            reasons["restart-database"] = "the server is not ours"
        if self._broker is None:
            reasons["restart-broker"] = "a broker in files has no server"
        elif not self._broker.is_restartable:
            reasons["restart-broker"] = "the server is not ours"
        if "restart-broker" in reasons:
            reasons["mute-broker"] = reasons["restart-broker"]
        if not any(seat.pool == "threads" for seat in self.seats):
            reasons["crash-worker"] = "needs a second worker: a prefork child alone would crash"
        return reasons

    # --- what the soak calls ----------------------------------------------------------------------

    def start(self) -> None:
        for seat in self.seats:
            self._start(seat)

    def step(self) -> None:
        """Repairs the faults whose time is over, and replaces processes that have ended."""
        while self._todo and self._todo[0][0] <= time.monotonic():
            heapq.heappop(self._todo)[2]()
        for seat in self.seats:
            if seat.part is not None and not seat.part.is_alive:
                self._found_dead(seat, seat.part)

    def make(self, kind: str) -> None:
        self.kinds[kind]()

    def heal(self) -> None:
        """Repairs all faults. Afterwards everything runs, and no crash point is armed."""
        self._is_healing = True
        self._end_all()
        for seat in self.seats:
            if seat.is_armed and seat.part is not None:
                self._kill_seat(seat, "kill-" + seat.kind)
        self._end_all()

    def parts_are_up(self) -> bool:
        return all(seat.is_up for seat in self.seats)

    def _end_all(self) -> None:
        # A draining process schedules its check again until the process has ended.
        while self._todo:
            heapq.heappop(self._todo)[2]()
            time.sleep(0.05)

    # --- the faults -------------------------------------------------------------------------------

    def _kill(self, kind: str) -> None:
        if seat := self._pick(kind):
            self._kill_seat(seat, f"kill-{kind}")

    def _kill_seat(self, seat: Seat, fault: str, *, crash_point: str | None = None) -> None:
        assert seat.part is not None
        began, name = _now(), seat.name
        seat.part.kill()
        seat.part, seat.is_armed = None, False
        self._note(f"{fault} {name}")

        def replace() -> None:
            self._start(seat, point=crash_point)
            self._end(fault, name, began)

        self._after(self._dice.uniform(0, 2), replace)

    def _crash(self, kind: str) -> None:
        """Replaces a process by one that kills itself at a crash point during its work."""
        seat = self._pick(kind, pool="threads" if kind == "worker" else "")
        if seat is None:
            return
        mine = [name for name in POINTS if name.startswith(_OF[kind])]
        point = f"{self._dice.choice(mine)}:{self._dice.randint(1, 5)}"
        self._kill_seat(seat, f"crash-{kind}", crash_point=point)

    def _stop_worker(self) -> None:
        """Stops a worker for longer than its lease: others take over its runs, then it goes on."""
        if seat := self._pick("worker"):
            seat.was_stopped = True
            self._pause(seat, "stop-worker", self._lease_seconds + self._dice.uniform(2, 5))

    def _pause_beat(self) -> None:
        if seat := self._pick("beat"):
            self._pause(seat, "pause-beat", self._dice.uniform(0.5, 5))

    def _pause(self, seat: Seat, fault: str, seconds: float) -> None:
        assert seat.part is not None
        part, began, name = seat.part, _now(), seat.name
        part.stop()
        seat.is_paused = True
        self._note(f"{fault} {name} for {seconds:.1f} s")

        def resume() -> None:
            part.cont()
            seat.is_paused = False
            self._note(f"{name} goes on")
            self._end(fault, name, began)

        self._after(seconds, resume)

    def _freeze_beat(self) -> None:
        """Replaces a beat by one that freezes inside its transaction, and thaws it later."""
        seat = self._pick("beat")
        if seat is None or seat.part is None:
            return
        began, old = _now(), seat.name
        seat.part.kill()
        point = f"{self._dice.choice(FREEZE_POINTS)}:{self._dice.randint(1, 3)}"
        self._start(seat, point=point, variable=FREEZE_VARIABLE)
        part, name = seat.part, seat.name
        give_up = time.monotonic() + FREEZES_WITHIN_SECONDS
        self._note(f"freeze-beat {name} at {point} in place of {old}")

        def watch() -> None:
            if not part.is_alive:
                self._end("freeze-beat", name, began)
            elif part.is_stopped:
                seat.is_paused = True
                self._note(f"{name} is frozen in its transaction")
                self._after(FROZEN_SECONDS, resume)
            elif self._is_healing or time.monotonic() > give_up:
                self._end("freeze-beat", name, began)
            else:
                self._after(0.2, watch)

        def resume() -> None:
            part.cont()
            seat.is_paused = seat.is_armed = False
            self._note(f"{name} goes on")
            self._end("freeze-beat", name, began)

        self._after(0.2, watch)

    def _mute_broker(self) -> None:
        """The broker accepts connections and says nothing."""
        server = self._broker
        if server is None or not server.is_running or self._is_mute:
            return
        began = _now()
        server.freeze()
        self._is_mute = True
        self._note("mute-broker")

        def resume() -> None:
            server.thaw()
            self._is_mute = False
            self._note(f"{server.name} speaks again")
            self._end("mute-broker", "", began)

        self._after(MUTE_SECONDS, resume)

    def _drain_worker(self) -> None:
        """Ends a worker with SIGTERM, as a deployment does."""
        seat = self._pick("worker")
        if seat is None or seat.part is None:
            return
        part, began, name = seat.part, _now(), seat.name
        part.terminate()
        seat.part = None
        self._note(f"drain-worker {name}")
        give_up = time.monotonic() + self._drain_seconds
        was_mute = self._is_mute

        def replace() -> None:
            nonlocal was_mute
            was_mute |= self._is_mute
            if part.is_alive and time.monotonic() < give_up:
                self._after(0.2, replace)
                return
            if part.is_alive:
                self.deaths.append(f"{name} did not end within {self._drain_seconds} s of SIGTERM")
                part.kill()
            elif not _ended_well(part, was_mute=was_mute):
                self.deaths.append(f"{name} ended with {part.exit_code} on SIGTERM")
            self._start(seat)
            self._end("drain-worker", name, began)

        self._after(0.2, replace)

    def _flush_broker(self) -> None:
        began, url = _now(), self._system.broker_url
        if self._is_mute:
            return  # it would not answer
        if url is None:
            shutil.rmtree(self._system.data_dir / "broker", ignore_errors=True)
        elif isinstance(self._broker, Redis):
            with redis.Redis.from_url(url, socket_timeout=5) as client:
                client.flushdb()
        elif isinstance(self._broker, RabbitMQ):
            with Connection(url, connect_timeout=5) as connection:
                connection.default_channel.queue_purge("celery")
        self._note("flush-broker")
        self._end("flush-broker", "", began)

    def _restart(self, fault: str, server: Server | None) -> None:
        assert server is not None
        if not server.is_running or (server is self._broker and self._is_mute):
            return
        began = _now()
        server.kill()
        self._note(fault)

        def bring_back() -> None:
            server.start()
            self._note(f"{server.name} is back")
            self._end(fault, "", began)

        self._after(self._dice.uniform(0, 3), bring_back)

    # --- helpers ----------------------------------------------------------------------------------

    def _pick(self, kind: str, pool: str = "") -> Seat | None:
        seats = [
            seat
            for seat in self.seats
            if seat.kind == kind and seat.is_up and (not pool or seat.pool == pool)
        ]
        return self._dice.choice(seats) if seats else None

    def _start(
        self, seat: Seat, *, point: str | None = None, variable: str = CRASH_VARIABLE
    ) -> None:
        healthy = self._system.environment
        if point is not None:
            self._system.environment = {**healthy, variable: point}
        try:
            if seat.kind == "beat":
                seat.part = self._system.start_beat()
                seat.name = seat.part.name
            else:
                seat.part = self._system.start_worker(
                    pool=seat.pool, concurrency=3 if seat.pool == "prefork" else 20
                )
                seat.name = f"{seat.part.name}@{self._system.place.name}:"
        finally:
            self._system.environment = healthy
        seat.is_paused, seat.is_armed, seat.was_stopped = False, point is not None, False
        armed = f", armed with {point}" if point else ""
        self._note(f"{seat.name} started (pid {seat.part.pid}, {seat.pool or seat.kind}{armed})")

    def _found_dead(self, seat: Seat, part: Part) -> None:
        began, name, code = _now(), seat.name, part.exit_code
        expected = (seat.is_armed and code == -signal.SIGKILL) or code == EXIT_FOR_RESTART
        # Its own timer may be quicker than its thread to see that it was frozen for too long.
        # It dumps the stacks of threads that go on, and may meet one that has just gone (SIGSEGV).
        of_timer = code in (1, -signal.SIGSEGV)
        expected |= seat.was_stopped and of_timer and "Timeout (" in part.log()
        self._note(f"{name} ended with {code}")
        if not expected:
            self.deaths.append(f"{name} ended by itself with {code}: {part.log_tail()[-2000:]}")
        fault = f"crash-{seat.kind}"
        seat.part, seat.is_armed = None, False

        def replace() -> None:
            self._start(seat)
            self._end(fault, name, began)

        self._after(0.5, replace)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._todo, (time.monotonic() + seconds, next(self._order), action))

    def _end(self, kind: str, target: str, began: datetime) -> None:
        self.done.append(Fault(kind=kind, target=target, began_at=began, ended_at=_now()))


def _ended_well(part: Part, *, was_mute: bool) -> bool:
    """Returns whether the exit code is right after SIGTERM.

    0; or 75 if a run could not be stopped; or 1 if Celery waited for a mute broker until the worker
    ended itself by force; or the signal itself if it came before "ready".
    """
    if was_mute and part.exit_code == 1 and "worker.ended_by_force" in part.log():
        return True
    if part.exit_code in (0, EXIT_FOR_RESTART):
        return True
    return part.exit_code == -signal.SIGTERM and "ready." not in part.log()


def _now() -> datetime:
    return datetime.now(UTC)
