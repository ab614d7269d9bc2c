"""Which rules a job has: its own over those of its tags over those of all jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from scheduler.alert_rules import AlertRules, merge, stored_rules
from scheduler.conf import AlertSettings
from scheduler.store import alert_findings
from scheduler.store.alert_findings import WithRules


@dataclass(frozen=True, kw_only=True)
class JobRules:
    """A job and the rules that hold for it."""

    job_id: int
    name: str
    owner: str
    queue: str
    rules: AlertRules


def rules_that_hold(
    settings: AlertSettings, *, tags: Sequence[str], own_rules: object
) -> AlertRules:
    """Returns the rules of a job. Of two tags with rules the later in the alphabet wins."""
    of_tags = [settings.tags[tag] for tag in sorted(tags) if tag in settings.tags]
    return merge([settings.default_rules, *of_tags, stored_rules(own_rules)])


def jobs_with_rules(settings: AlertSettings) -> WithRules:
    """Returns which jobs the database need not leave out."""
    return WithRules(
        all_jobs=settings.default_rules.asks_for_alerts,
        tags=[tag for tag, rules in settings.tags.items() if rules.asks_for_alerts],
    )


def rules_of(job_ids: Collection[int], settings: AlertSettings) -> dict[int, JobRules]:
    """Returns the rules of these jobs, without those that are gone. One or two statements."""
    if not job_ids:
        return {}
    rows = alert_findings.job_rows(job_ids, with_tags=bool(settings.tags))
    return {
        row.id: JobRules(
            job_id=row.id,
            name=row.name,
            owner=row.owner,
            queue=row.queue,
            rules=rules_that_hold(settings, tags=row.tags, own_rules=row.own_rules),
        )
        for row in rows.values()
    }
