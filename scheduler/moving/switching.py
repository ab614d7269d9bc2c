"""A switch of one job, step by step: off on one side and committed first, then on on the other.

To here, where jobu writes into the old system:
1. STARTED   the row is kept. Then the old scheduler is asked to write down its last runs.
2. ASKED     after a moment its last run is read and kept, then the entry is switched off there.
3. OFF_THERE after a moment the old scheduler has noticed. What it has still run is known from its
             count of runs; the slots after that run here.
4. DONE
Where a person writes there, step 4 comes when the person says that it is off there.
Back: OFF_HERE is kept together with the job being off here, then it is switched on there.

Whoever finds a row that has not ended does the same step again: doing it twice harms nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from scheduler.failpoints import point
from scheduler.models import CronJob, JobSwitch
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.old_sides import OldState, OldTask, old_task
from scheduler.operations.errors import NotPossible
from scheduler.operations.switches import SwitchControl
from scheduler.schedule import ScheduleError, schedule_of, slots_between
from scheduler.states import OldSide, SwitchDirection, SwitchState
from scheduler.store import switches

#: django-celery-beat looks for changes every 5 seconds.
WAIT_SECONDS: Final = 10.0
#: The clocks of the two sides may differ by so much, if slots lie further apart.
_CLOCKS_DIFFER: Final = timedelta(seconds=2)
_APART: Final = timedelta(seconds=10)
_LONGEST: Final = timedelta(days=3660)


@dataclass(frozen=True, kw_only=True)
class Switching:
    """Moves switches on. `where`: the old system, as in SOURCE; "": where the job says."""

    control: SwitchControl
    where: str = ""
    wait_seconds: float = WAIT_SECONDS

    def step(self, switch: JobSwitch, *, is_done_there: bool = False) -> JobSwitch:
        """Does the next step if its time has come. `is_done_there`: a person says so.

        Raises NotPossible with the reason, which the row keeps, too.
        """
        try:
            self._step(switch, is_done_there=is_done_there)
        except (UnreadableSource, NotPossible, ScheduleError) as error:
            switches.fail(switch, str(error))
            raise NotPossible(str(error)) from error
        return JobSwitch.objects.get(job_id=switch.job_id)

    def seconds_to_wait(self, switch: JobSwitch) -> float:
        """Returns how long the next step has to wait for the old scheduler."""
        if switch.old_side != OldSide.WRITTEN or switch.state not in _WAITING:
            return 0.0
        passed = (self.control.clock.now() - switch.at).total_seconds()
        return max(0.0, self.wait_seconds - passed)

    def _step(self, switch: JobSwitch, *, is_done_there: bool) -> None:
        if switch.is_done or self.seconds_to_wait(switch) > 0:
            return
        if switch.old_side == OldSide.BY_HAND:
            if is_done_there:
                self._end(switch, self.control.clock.now())
        elif switch.direction == SwitchDirection.BACK:
            self._switch_on_there(switch)
        else:
            self._written_step(switch)

    def _written_step(self, switch: JobSwitch) -> None:
        task = old_task(switch.source, self.where)
        match SwitchState(switch.state):
            case SwitchState.STARTED:
                point("switch.started")
                task.ask_to_write(self.control.clock.now())
                switches.move(switch, SwitchState.ASKED, now=self.control.clock.now())
            case SwitchState.ASKED:
                state = task.state()
                now = self.control.clock.now()
                known = {"last_run_at": state.last_run_at, "runs": state.runs}
                if switches.move(switch, SwitchState.READ, now=now, **known):
                    self._switch_off_there(JobSwitch.objects.get(job_id=switch.job_id), task)
            case SwitchState.READ:
                self._switch_off_there(switch, task)
            case _:
                state = task.state()
                if state.is_enabled:
                    raise NotPossible(_("somebody has switched it on there again"))
                self._end(switch, self._served_until(switch, state))

    def _switch_off_there(self, switch: JobSwitch, task: OldTask) -> None:
        point("switch.read")
        task.switch_off(self.control.clock.now())
        point("switch.off_there")
        switches.move(switch, SwitchState.OFF_THERE, now=self.control.clock.now())
        point("switch.noted")

    def _switch_on_there(self, switch: JobSwitch) -> None:
        point("switch.off_here")
        now = self.control.clock.now()
        last_slot = switch.last_run_at or switch.since
        old_task(switch.source, self.where).switch_on(now, last_slot)
        point("switch.on_there")
        switches.move(switch, SwitchState.DONE, now=now)

    def _end(self, switch: JobSwitch, at: datetime) -> None:
        if switch.direction == SwitchDirection.HERE:
            self.control.run_here(switch, at)
        else:
            switches.move(switch, SwitchState.DONE, now=self.control.clock.now())

    def _served_until(self, switch: JobSwitch, state: OldState) -> datetime:
        """Returns up to which instant the old system has run the slots.

        Between the two looks it may have run a few more, and switching a task off makes it forget
        when: its count of runs says how many slots that were.
        """
        job = CronJob.objects.get(pk=switch.job_id)
        schedule = schedule_of(job, self.control.settings)
        last = max(filter(None, (switch.last_run_at, state.last_run_at)), default=None)
        more = 0
        if last == switch.last_run_at and None not in (state.runs, switch.runs):
            more = max(0, (state.runs or 0) - (switch.runs or 0))
        served = last or switch.since
        coming = slots_between(schedule, served, served + _LONGEST, 2)
        is_near = coming and coming[0] - served <= _CLOCKS_DIFFER
        if is_near and (len(coming) < 2 or coming[1] - coming[0] >= _APART):
            served = coming[0]
        later = slots_between(schedule, served, served + _LONGEST, more)
        return later[-1] if later else served


_WAITING: Final = (SwitchState.ASKED, SwitchState.OFF_THERE)
