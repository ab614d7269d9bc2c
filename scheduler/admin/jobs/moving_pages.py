"""The pages of imported jobs: a week beside the old system, and the comparison of slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from django import forms
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduler.admin import formatting
from scheduler.admin.actor import control_of
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import IntegerWidget
from scheduler.models import CronJob
from scheduler.moving.comparing import Comparison, Difference, compare
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.job_entries import entry_of
from scheduler.moving.mapping import new_side, old_side
from scheduler.moving.shadow_verdicts import Verdict, verdicts
from scheduler.moving.side_by_side import Judgement, Match, Pair, RunsFrom, side_by_side
from scheduler.moving.words import cause_in_words
from scheduler.operations.permissions import Action, may
from scheduler.operations.switches import is_imported
from scheduler.schedule import ScheduleError

#: So many rows of a week are shown, and so many that differ. The counts are of all.
SHOWN: Final = 60
SHOWN_DIFFERENCES: Final = 40
#: So many shadows are on one page.
SHADOWS: Final = 50
_LONGEST_DAYS: Final = 400
_JOB_PAGE: Final = "admin:scheduler_cronjob_change"

_RUNS_FROM: Final[Mapping[RunsFrom, Any]] = {
    RunsFrom.RESULTS: gettext_lazy("The runs there are those whose results it has kept."),
    RunsFrom.LAST_RUN: gettext_lazy(
        "The old system keeps its last run only: earlier slots cannot be judged."
    ),
    RunsFrom.SCHEDULE: gettext_lazy(
        "The old system keeps no runs: the times there are those of its schedule."
    ),
    RunsFrom.NOTHING: gettext_lazy("The old system cannot be read."),
}


class DaysForm(forms.Form):
    days = forms.IntegerField(
        label=gettext_lazy("Days from now on"),
        min_value=1,
        max_value=_LONGEST_DAYS,
        initial=30,
        widget=IntegerWidget(),
    )


def beside(admin: Any, request: HttpRequest, job_id: int) -> HttpResponse:
    """A week of our slots beside the old system's runs."""
    job = _imported(admin, request, job_id, Action.VIEW_EXECUTIONS)
    now = control_of(request).clock.now()
    found = side_by_side(job, now)
    context = {
        "title": _("%(job)s: a week beside the old system") % {"job": job.name},
        "runs_from": _RUNS_FROM[found.runs_from],
        "problem": found.problem,
        "judgement": judgement_badge(found.judgement),
        "counts": [(_match_badge(match), found.counts[match]) for match in Match],
        "differing": _differing(found.pairs),
        "table": _table_of(found.pairs[:SHOWN]),
        "unlisted": max(0, len(found.pairs) - SHOWN),
    }
    return _page(admin, request, "scheduler/jobs/beside.html", job, context)


def shadows(admin: Any, request: HttpRequest) -> HttpResponse:
    """All shadow jobs, each with whether it is in step with its old system."""
    if not (may(request.user, Action.VIEW_JOBS) and may(request.user, Action.VIEW_EXECUTIONS)):
        raise PermissionDenied
    control = control_of(request)
    now = control.clock.now()
    paginator = Paginator(CronJob.objects.filter(is_shadow=True).order_by("name", "id"), SHADOWS)
    page = paginator.get_page(request.GET.get(PAGE_VAR, 1))
    jobs = list(page)
    found = verdicts(jobs, control.settings, now)
    context = {
        "title": _("Shadows"),
        "table": {
            "headers": [
                _("job"),
                _("source"),
                _("next slot"),
                _("last run there"),
                _("found"),
                _("why"),
                _("beside the old system"),
            ],
            "rows": [_row_of(job, found[job.pk]) for job in jobs],
        },
        "page": page,
        "page_range": paginator.get_elided_page_range(page.number),
        "page_var": PAGE_VAR,
    }
    return _page(admin, request, "scheduler/jobs/shadows.html", None, context)


def comparison(admin: Any, request: HttpRequest, job_id: int) -> HttpResponse:
    """The slots of the next days of both systems, and why they differ."""
    job = _imported(admin, request, job_id, Action.VIEW_JOBS)
    form = DaysForm(request.GET if "days" in request.GET else {"days": 30})
    found, problem = None, ""
    if form.is_valid():
        control = control_of(request)
        now = control.clock.now().replace(microsecond=0)
        try:
            old = old_side(entry_of(job, now))
            if old is None:
                problem = _("the old system does not say when it runs this entry")
            else:
                new = new_side(job, control)
                found = compare(old, new, now=now, days=form.cleaned_data["days"])
        except (UnreadableSource, ScheduleError) as error:
            problem = str(error)
    context = {
        "title": _("%(job)s: slots of both systems") % {"job": job.name},
        "form": form,
        "found": found,
        "problem": problem,
        "causes": [] if found is None else _causes_of(found),
        "table": None if found is None else _differences_of(found),
    }
    return _page(admin, request, "scheduler/jobs/comparison.html", job, context)


def links(job: CronJob, person: Any) -> dict[str, str]:
    """Returns the addresses of the pages for the page of a job."""
    if not is_imported(job):
        return {}
    found = {"comparison_url": reverse("admin:scheduler_cronjob_comparison", args=[job.pk])}
    if job.is_shadow and may(person, Action.VIEW_EXECUTIONS):
        found["beside_url"] = reverse("admin:scheduler_cronjob_beside", args=[job.pk])
        found["shadows_url"] = reverse("admin:scheduler_cronjob_shadows")
    return found


def judgement_badge(judgement: Judgement) -> SafeString:
    text, meaning = {
        Judgement.IN_STEP: (_("in step"), "good"),
        Judgement.DIFFERS: (_("differs"), "bad"),
        Judgement.UNKNOWN: (_("not known"), "calm"),
    }[judgement]
    return formatting.badge(text, meaning)


def _match_badge(match: Match) -> SafeString:
    text, meaning = {
        Match.BOTH: (_("both"), "good"),
        Match.ONLY_HERE: (_("only here"), "bad"),
        Match.ONLY_THERE: (_("only there"), "bad"),
        Match.UNKNOWN: (_("not known"), "calm"),
    }[match]
    return formatting.badge(text, meaning)


def _imported(admin: Any, request: HttpRequest, job_id: int, action: Action) -> CronJob:
    if not (may(request.user, Action.VIEW_JOBS) and may(request.user, action)):
        raise PermissionDenied
    job: CronJob | None = admin.get_object(request, str(job_id))
    if job is None or not is_imported(job):
        raise Http404
    return job


def _page(
    admin: Any, request: HttpRequest, template: str, job: CronJob | None, context: dict[str, Any]
) -> HttpResponse:
    back = "admin:scheduler_cronjob_changelist" if job is None else _JOB_PAGE
    common = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "original": job,
        "back_url": reverse(back, args=[] if job is None else [job.pk]),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, template, {**common, **context})


def _table_of(pairs: Iterable[Pair]) -> dict[str, Any]:
    headers = [_("slot here"), _("run there"), _("difference"), _("found")]
    return {"headers": headers, "rows": [_pair_row(pair) for pair in pairs]}


def _differing(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """Returns the newest pairs that differ. None: there are none."""
    only = (Match.ONLY_HERE, Match.ONLY_THERE)
    found = islice((pair for pair in pairs if pair.match in only), SHOWN_DIFFERENCES)
    table = _table_of(found)
    return table if table["rows"] else None


def _pair_row(pair: Pair) -> tuple[Any, ...]:
    late = pair.late_seconds
    shown = formatting.NOTHING if late is None else _("%(seconds)s s") % {"seconds": f"{late:+.1f}"}
    return (
        formatting.instant(pair.here),
        formatting.instant(pair.there),
        shown,
        _match_badge(pair.match),
    )


def _row_of(job: CronJob, verdict: Verdict) -> tuple[Any, ...]:
    link = formatting.link(reverse(_JOB_PAGE, args=[job.pk]), job.name)
    slot = formatting.instant(job.next_run_at) if job.is_enabled else formatting.NOTHING
    beside_url = reverse("admin:scheduler_cronjob_beside", args=[job.pk])
    more = formatting.link(beside_url, _("a week")) if is_imported(job) else formatting.NOTHING
    return (
        link,
        formatting.wrapped(job.source) if job.source else formatting.NOTHING,
        slot,
        formatting.instant(verdict.last_run_at),
        judgement_badge(verdict.judgement),
        formatting.wrapped(
            _("off there, too: nobody runs it") if verdict.is_off_there else verdict.problem
        ),
        more,
    )


def _causes_of(found: Comparison) -> list[tuple[str, int]]:
    return [(cause_in_words(cause), count) for cause, count in sorted(found.causes.items())]


def _differences_of(found: Comparison) -> dict[str, Any]:
    return {
        "headers": [_("slot"), _("found"), _("why")],
        "rows": [_difference_row(each) for each in found.examples()],
    }


def _difference_row(each: Difference) -> tuple[Any, ...]:
    match = Match.ONLY_THERE if each.in_old else Match.ONLY_HERE
    return formatting.instant(each.at), _match_badge(match), cause_in_words(each.cause)
