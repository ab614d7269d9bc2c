"""The answer about a slot in sentences, in the reader's language. `show` formats an instant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.labels import label_of
from scheduler.operations.history import ShowInstant
from scheduler.operations.limit_words import why_it_waits
from scheduler.operations.skip_words import why_not_run
from scheduler.operations.slot_answer import SlotAnswer
from scheduler.operations.upstream_words import waits_in_words
from scheduler.operations.waiting_words import of_code
from scheduler.states import GOING_ON, JudgedBy, ReasonCode, RunStatus, SlotCode, SlotObstacle

#: Only the schedule says so, and no row does.
_JUDGED: Final = frozenset(
    {
        SlotCode.CALENDAR,
        SlotCode.NOT_A_SLOT,
        SlotCode.OUTSIDE,
        SlotCode.PRUNED,
        SlotCode.NO_RECORD,
    }
)


def sentences(answer: SlotAnswer, show: ShowInstant) -> list[str]:
    """Returns the answer, the most important sentence first."""
    found = [_first(answer, show), *_more(answer, show)]
    if answer.instead is not None:
        found += sentences(answer.instead, show)
    return [sentence for sentence in found if sentence]


def _first(answer: SlotAnswer, show: ShowInstant) -> str:
    facts = {
        "at": show(answer.at),
        "id": answer.execution_id,
        "status": label_of(RunStatus, answer.status),
    }
    match answer.code:
        case SlotCode.RAN if answer.status in GOING_ON:
            return _("The slot of %(at)s is running: execution #%(id)s.") % facts
        case SlotCode.RAN:
            return _("The slot of %(at)s ran: execution #%(id)s, %(status)s.") % facts
        case SlotCode.WAITS:
            return _("The slot of %(at)s waits: execution #%(id)s has not begun yet.") % facts
        case SlotCode.NOT_BEGUN:
            text = _("The slot of %(at)s did not run: execution #%(id)s is %(status)s.")
            return text % facts
        case (
            SlotCode.SKIPPED
            | SlotCode.OVERLAP
            | SlotCode.SHADOW
            | SlotCode.FROZEN
            | SlotCode.MISSED_IN_SPAN
        ):
            return _not_run(answer, show)
        case SlotCode.PAUSED:
            return _("The slot of %(at)s did not run: the job was off.") % facts
        case SlotCode.CALENDAR:
            return _calendar(answer, show)
        case SlotCode.IN_GAP:
            return _gap(answer, show)
        case SlotCode.NOT_A_SLOT:
            return _("%(at)s is no slot of the job.") % facts
        case SlotCode.OUTSIDE:
            return _outside(answer, show)
        case SlotCode.BEFORE_JOB:
            return _before_job(answer, show)
        case SlotCode.NO_SCHEDULE:
            text = _("Nobody can say whether %(at)s is a slot: %(reason)s")
            return text % {**facts, "reason": answer.reason}
        case SlotCode.PRUNED:
            text = _(
                "%(at)s is a slot, but executions are kept since %(since)s only: what became of it "
                "is no longer known."
            )
            return text % {**facts, "since": show(answer.since or answer.at)}
        case SlotCode.NOT_YET:
            return _not_yet(answer, show)
        case SlotCode.OVERDUE:
            return _("The slot of %(at)s is due, and no beat has recorded it yet.") % facts
        case SlotCode.NO_RECORD:
            text = _("%(at)s is a slot, but there is no record of it: perhaps it was deleted.")
            return text % facts


def _not_run(answer: SlotAnswer, show: ShowInstant) -> str:
    reason = why_not_run(answer.reason_code, answer.reason_facts, show) or answer.reason
    return _("The slot of %(at)s did not run: %(reason)s.") % {
        "at": show(answer.at),
        "reason": reason.rstrip(".") or _("no reason is recorded"),
    }


def _calendar(answer: SlotAnswer, show: ShowInstant) -> str:
    facts = {"at": show(answer.at), "calendar": answer.calendar}
    if answer.moved_to is None:
        return _("The calendar %(calendar)s leaves out %(at)s.") % facts
    text = _("The calendar %(calendar)s moves %(at)s to %(moved_to)s.")
    return text % {**facts, "moved_to": show(answer.moved_to)}


def _gap(answer: SlotAnswer, show: ShowInstant) -> str:
    assert answer.gap is not None
    text = _("The clock of %(zone)s did not show this time: it went from %(before)s to %(after)s.")
    text %= vars(answer.gap)
    if answer.instead is None:
        return text
    return f"{text} {_('A fixed time inside the gap runs at its end, %s.') % show(answer.at)}"


def _outside(answer: SlotAnswer, show: ShowInstant) -> str:
    at = show(answer.at)
    if answer.since is not None and answer.at < answer.since:
        text = _("%(at)s is before the beginning of the job's schedule, %(since)s.")
        return text % {"at": at, "since": show(answer.since)}
    text = _("%(at)s is after the end of the job's schedule, %(until)s.")
    return text % {"at": at, "until": show(answer.until or answer.at)}


def _before_job(answer: SlotAnswer, show: ShowInstant) -> str:
    facts = {
        "at": show(answer.at), "since": show(answer.since or answer.at), "by": answer.by,
    }  # fmt: skip
    if answer.by:
        text = _("There was no such job at %(at)s: %(by)s created it at %(since)s.")
    else:
        text = _("There was no such job at %(at)s: it was created at %(since)s.")
    return text % facts


def _not_yet(answer: SlotAnswer, show: ShowInstant) -> str:
    starts_at = answer.starts_at or answer.at
    if answer.obstacles:
        return _("The slot of %(at)s is planned, but as things are now it will not run.") % {
            "at": show(answer.at)
        }
    if answer.freeze:
        text = _("The slot of %(at)s is planned; the freeze “%(freeze)s” holds it until %(until)s.")
        facts = {"at": show(answer.at), "freeze": answer.freeze, "until": show(starts_at)}
        return text % facts
    if starts_at == answer.at:
        return _("The slot of %(at)s is planned, and nothing stands in its way now.") % {
            "at": show(answer.at)
        }
    text = _("The slot of %(at)s is planned; by the job's jitter it may start at %(starts_at)s.")
    return text % {"at": show(answer.at), "starts_at": show(starts_at)}


def _more(answer: SlotAnswer, show: ShowInstant) -> Iterator[str]:
    if answer.code == SlotCode.PAUSED:
        yield from _off(answer, show)
    if answer.code == SlotCode.WAITS:
        if answer.reason_code == ReasonCode.UPSTREAM_AWAITED:
            yield waits_in_words(answer.reason_facts, show)
        else:
            yield of_code(
                answer.reason_code, answer.reason_facts, show, starts_at=answer.starts_at
            ) or why_it_waits(answer.reason_code, answer.reason_facts)
    if answer.code == SlotCode.NOT_BEGUN:
        if answer.by:
            yield _("%(person)s cancelled it.") % {"person": answer.by}
        elif answer.reason:
            yield answer.reason
    for obstacle in answer.obstacles:
        yield _obstacle(obstacle, answer)
    if answer.code in {SlotCode.NOT_A_SLOT, SlotCode.IN_GAP} and answer.instead is None:
        yield _nearest(answer, show)
    if answer.is_slot_today and answer.judged_by == JudgedBy.HISTORY:
        yield _("By today's schedule it is a slot, but the job had another schedule then.")
    if answer.judged_by == JudgedBy.TODAY and answer.code in _JUDGED:
        yield _("This is judged by today's schedule: the history does not know the one of then.")
    if answer.other_pass is not None:
        text = _("The clock shows this time twice; the other one is %(at)s.")
        yield text % {"at": show(answer.other_pass)}
    if answer.stand_ins:
        yield ngettext(
            "Execution %(ids)s stands for this slot.",
            "Executions %(ids)s stand for this slot.",
            len(answer.stand_ins),
        ) % {"ids": ", ".join(f"#{id_}" for id_ in answer.stand_ins)}


def _off(answer: SlotAnswer, show: ShowInstant) -> Iterator[str]:
    if answer.since is not None:
        facts = {"by": answer.by or _("somebody"), "since": show(answer.since)}
        if answer.until is not None:
            text = _("%(by)s switched it off at %(since)s, until %(until)s.")
            yield text % {**facts, "until": show(answer.until)}
        else:
            yield _("%(by)s switched it off at %(since)s.") % facts
    if answer.reason:
        yield _("The reason given: %(reason)s") % {"reason": answer.reason}
    if answer.first is not None and answer.last is not None:
        text = _("Execution #%(id)s records the slots from %(first)s to %(last)s.")
        facts = {"id": str(answer.execution_id), "first": show(answer.first)}
        yield text % {**facts, "last": show(answer.last)}


def _obstacle(obstacle: SlotObstacle, answer: SlotAnswer) -> str:
    match obstacle:
        case SlotObstacle.DISABLED:
            return _("The job is disabled.")
        case SlotObstacle.PAUSED:
            return _("The job is paused beyond that time.")
        case SlotObstacle.SHADOW:
            return _("The job is a shadow: another system runs its slots.")
        case SlotObstacle.NO_HANDLER:
            return _("There is no such handler.")
        case SlotObstacle.QUEUE_PAUSED:
            return _("Its queue is paused beyond that time.")
        case SlotObstacle.FROZEN:
            text = _("The freeze “%(freeze)s” holds then: %(note)s")
            return text % {"freeze": answer.freeze, "note": answer.reason}


def _nearest(answer: SlotAnswer, show: ShowInstant) -> str:
    before = None if answer.before is None else show(answer.before)
    after = None if answer.after is None else show(answer.after)
    if before and after:
        text = _("The nearest slots are %(before)s and %(after)s.")
        return text % {"before": before, "after": after}
    if before:
        return _("Its last slot is %(before)s; none follows.") % {"before": before}
    if after:
        return _("Its first slot is %(after)s.") % {"after": after}
    return _("The job has no slots.")
