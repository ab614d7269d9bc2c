"""Plans an import, and applies it in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _

from scheduler.models import CronJob
from scheduler.moving.entries import Verdict
from scheduler.moving.mapping import Mapped
from scheduler.moving.other_kinds import is_same_distance
from scheduler.operations.definition import is_changed
from scheduler.operations.imports import ImportControl
from scheduler.operations.switches import runs_here
from scheduler.transient import in_transaction


class Step(StrEnum):
    """What the import does with an entry."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"
    LEAVE_OUT = "leave out"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A step. `changes`: the columns that it writes; `kept`: those that a person has edited here
    and that differ from the source now. `job`: the one that an earlier import has made.
    """

    mapped: Mapped
    step: Step
    changes: Mapping[str, Any]
    kept: Sequence[str] = ()
    job: CronJob | None = None


def plan(mapped: Iterable[Mapped], control: ImportControl) -> list[Planned]:
    """Compares each entry with the job that an earlier import has made of it. Writes nothing."""
    entries = list(mapped)
    jobs = control.imported([each.source for each in entries])
    edited = control.edited_here([job.pk for job in jobs.values()])
    return [_step(each, jobs.get(each.source), edited) for each in entries]


def _step(
    mapped: Mapped, job: CronJob | None, edited: Mapping[int, frozenset[str] | None]
) -> Planned:
    if mapped.verdict is Verdict.IMPOSSIBLE:
        return Planned(mapped=mapped, step=Step.LEAVE_OUT, changes={}, job=job)
    if job is None:
        return Planned(mapped=mapped, step=Step.CREATE, changes=mapped.values)
    # Whether it is on is a person's decision from the first import on.
    wanted = {name: value for name, value in mapped.values.items() if name != "is_enabled"}
    text = wanted.get("cron_expression", "")
    # After a switch the last run there stands still: what runs here keeps its phase.
    if is_same_distance(job.cron_expression, text, at_any_phase=runs_here(job)):
        del wanted["cron_expression"]
    changed = {n: v for n, v in wanted.items() if is_changed(n, getattr(job, n), v)}
    by_people = edited[job.pk]
    kept = sorted(changed if by_people is None else changed.keys() & by_people)
    changes = {name: value for name, value in changed.items() if name not in kept}
    step = Step.UPDATE if changes else Step.NOTHING
    return Planned(mapped=mapped, step=step, changes=changes, kept=kept, job=job)


def refusal(
    planned: Sequence[Planned], *, accept_differences: bool, skip_impossible: bool
) -> str | None:
    """Returns why the import must not be applied as a whole, or None."""
    verdicts = [each.mapped.verdict for each in planned]
    if Verdict.IMPOSSIBLE in verdicts and not skip_impossible:
        text = _("nothing was imported: %(count)s impossible; --skip-impossible leaves them out")
        return text % {"count": verdicts.count(Verdict.IMPOSSIBLE)}
    if Verdict.DIFFERS in verdicts and not accept_differences:
        text = _("nothing was imported: %(count)s differ; --accept-differences imports them, too")
        return text % {"count": verdicts.count(Verdict.DIFFERS)}
    return None


def apply(planned: Sequence[Planned], control: ImportControl) -> None:
    """Creates and changes the jobs, in one transaction. InvalidJob: nothing was changed."""

    def work() -> None:
        for each in planned:
            if each.step is Step.CREATE:
                control.import_job(each.mapped.source, **each.changes)
            elif each.step is Step.UPDATE and each.job is not None:
                control.update_imported(each.job.pk, each.mapped.source, **each.changes)

    in_transaction(work)
