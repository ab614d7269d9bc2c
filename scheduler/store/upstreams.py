"""Which jobs wait for which: the upstream jobs of jobs, and the jobs that depend on one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from scheduler.models import CronJob, JobUpstream
from scheduler.schedule.after import is_after
from scheduler.store.connection import lock_in_order

#: A longer chain is a mistake, and would be followed at each slot.
LONGEST_CHAIN = 50
#: So many jobs at most may one wait for.
MOST_UPSTREAMS = 50


def followed_by(job_ids: Collection[int]) -> Mapping[int, tuple[CronJob, ...]]:
    """The upstream jobs of each of these jobs, by name. A job without any is left out.

    Each of them knows its own upstream jobs, so that nobody asks for them one by one. Two queries
    for each step of the longest chain.
    """
    links: dict[int, list[int]] = {}
    wanted = set(job_ids)
    for _step in range(LONGEST_CHAIN):
        rows = JobUpstream.objects.filter(job_id__in=sorted(wanted - links.keys()))
        links |= {job_id: [] for job_id in wanted}
        found = list(rows.values_list("job_id", "upstream_id"))
        for job_id, upstream_id in found:
            links[job_id].append(upstream_id)
        wanted = {upstream_id for _job_id, upstream_id in found} - links.keys()
        if not wanted:
            break
    ids = {upstream_id for upstreams in links.values() for upstream_id in upstreams}
    jobs = {job.pk: job for job in CronJob.objects.filter(id__in=sorted(ids))} if ids else {}

    def upstreams_of(job_id: int) -> tuple[CronJob, ...]:
        there = (jobs[id_] for id_ in links.get(job_id, ()) if id_ in jobs)
        return tuple(sorted(there, key=lambda job: job.name))

    for job in jobs.values():
        job.followed = upstreams_of(job.pk)
    return {id_: followed for id_ in job_ids if (followed := upstreams_of(id_))}


def read_followed(jobs: Iterable[CronJob]) -> None:
    """Let those of these jobs that take the slots of others know them, without a query for each."""
    after = [job for job in jobs if is_after(job.cron_expression)]
    known = followed_by([job.pk for job in after]) if after else {}
    for job in after:
        job.followed = known.get(job.pk, ())


def followed_ids(job_ids: Collection[int]) -> Mapping[int, list[int]]:
    """The ids of the upstream jobs of each of these."""
    found: dict[int, list[int]] = {}
    rows = JobUpstream.objects.filter(job_id__in=sorted(job_ids)).order_by("upstream_id")
    for job_id, upstream_id in rows.values_list("job_id", "upstream_id"):
        found.setdefault(job_id, []).append(upstream_id)
    return found


def upstream_ids() -> frozenset[int]:
    """The jobs for which any other waits."""
    rows = JobUpstream.objects.order_by().values_list("upstream_id", flat=True).distinct()
    return frozenset(rows)


def downstreams(job_id: int) -> list[CronJob]:
    """The jobs that wait for this one, by name."""
    return list(CronJob.objects.filter(upstream_rows__upstream_id=job_id).order_by("name"))


def downstreams_of(job_ids: Collection[int]) -> Mapping[int, list[int]]:
    """The ids of the jobs that wait for each of these."""
    found: dict[int, list[int]] = {}
    rows = JobUpstream.objects.filter(upstream_id__in=sorted(job_ids)).order_by("job_id")
    for upstream_id, job_id in rows.values_list("upstream_id", "job_id"):
        found.setdefault(upstream_id, []).append(job_id)
    return found


def lock_before(names: Collection[str]) -> None:
    """Lock the jobs with these names and all that they wait for, until the transaction ends.

    Meanwhile none of them is deleted, and nobody closes a circle: whoever lets one of them wait for
    others has locked it, too. Of two such edits that meet one waits, or is done again.
    """
    rows = CronJob.objects.filter(name__in=sorted(names))
    seen: set[int] = set()
    for _step in range(LONGEST_CHAIN):
        ids = list(lock_in_order(rows).values_list("id", flat=True))
        seen.update(ids)
        wanted = {id_ for found in followed_ids(ids).values() for id_ in found} - seen
        if not wanted:
            break
        rows = CronJob.objects.filter(id__in=sorted(wanted))


def lock_following(job_id: int) -> list[CronJob]:
    """The jobs that take their slots from this one, also through others, locked, in id order."""
    found: dict[int, CronJob] = {}
    wanted = [job_id]
    while wanted and len(found) < LONGEST_CHAIN**2:
        rows = CronJob.objects.filter(upstream_rows__upstream_id__in=wanted).distinct()
        new = {
            job.pk: job
            for job in rows
            if job.pk not in found and job.pk != job_id and is_after(job.cron_expression)
        }
        found |= new
        wanted = sorted(new)
    return list(lock_in_order(CronJob.objects.filter(id__in=found))) if found else []
