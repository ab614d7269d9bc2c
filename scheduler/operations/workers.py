"""Workers for people: draining one, and letting it take runs again."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from scheduler.operations.base import Operations
from scheduler.operations.errors import NotPossible
from scheduler.operations.liveness import alive_processes
from scheduler.states import ActivityVerb, ProcessKind, TargetKind
from scheduler.store import processes
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class WorkerControl(Operations):
    """The operations on workers, by the names of their main processes."""

    def drain(self, name: str) -> None:
        """Let this worker take no more runs. It hands back what does not end in time, and stays.

        It obeys with its next heartbeat. Raises NotPossible if no such worker is alive, or if it
        is drained already.
        """

        def work() -> bool:
            now = self.clock.now()
            alive = alive_processes(now).filter(kind=ProcessKind.WORKER.value, name=name)
            if not alive.exists():
                raise NotPossible(_("no worker %(name)s is alive") % {"name": name[:255]})
            done = processes.drain_worker(name, now=now, who=self.actor.name[:150])
            if done:
                self._remember(ActivityVerb.DRAINED, TargetKind.WORKER, None, name, now, {})
            return done

        if not in_transaction(work):
            raise NotPossible(_("%(name)s is drained already") % {"name": name})

    def undrain(self, name: str) -> None:
        """Let it take runs again. Raises NotPossible if it is not drained."""

        def work() -> bool:
            done = processes.undrain_worker(name)
            if done:
                now = self.clock.now()
                self._remember(ActivityVerb.RESUMED, TargetKind.WORKER, None, name, now, {})
            return done

        if not in_transaction(work):
            raise NotPossible(_("%(name)s is not drained") % {"name": name[:255]})
