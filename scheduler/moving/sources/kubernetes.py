"""Kubernetes: CronJobs in a file of YAML, one or many documents, or a List."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.moving.commands import HANDLER, params_of_words
from scheduler.moving.cron_fields import Dialect, UnreadableField, read_rule, unreadable
from scheduler.moving.entries import (
    Entry,
    Finding,
    Options,
    Reason,
    UnreadableSource,
    differs,
    impossible,
)
from scheduler.moving.mapping_rules import columns_of_interval, columns_of_rule
from scheduler.moving.names import is_zone
from scheduler.moving.tables import instant_of
from scheduler.moving.walking import Walker
from scheduler.moving.walking_kinds import Distance
from scheduler.moving.yaml_nodes import Document, documents

_SPEC: Final = {
    "schedule", "timeZone", "startingDeadlineSeconds", "concurrencyPolicy", "suspend",
    "jobTemplate", "successfulJobsHistoryLimit", "failedJobsHistoryLimit",
}  # fmt: skip
_JOB: Final = {
    "template", "backoffLimit", "activeDeadlineSeconds", "parallelism", "completions",
    "ttlSecondsAfterFinished", "completionMode", "suspend", "podFailurePolicy", "selector",
    "manualSelector", "podReplacementPolicy", "backoffLimitPerIndex", "maxFailedIndexes",
    "successPolicy", "managedBy",
}  # fmt: skip
_SECONDS_OF: Final = {"h": 3600, "m": 60, "s": 1, "ms": 0.001, "us": 1e-6, "ns": 1e-9}
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?)(h|ms|us|ns|m|s)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)
_OVERLAP: Final = {"Allow": "allow", "Forbid": "skip", "Replace": "replace"}
_BACKOFF_LIMIT: Final = 6
_ZONE_IN_FRONT: Final = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.+)", re.DOTALL)
_TEMPLATE: Final = "{{"
# `$(NAME)` in a command, an argument or a later variable; `$$(NAME)` stands for the text itself.
_REFERENCE: Final = re.compile(r"(\$\$)|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_MOST_RETRIES: Final = 10
_LONGEST_TIMEOUT_SECONDS: Final = 86_400


class _Unknown(Exception):
    """A key that CronJobs do not have."""


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the CronJobs of a file; other kinds of objects are left out."""
    path = Path(where)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        facts = {"path": path, "error": error}
        raise UnreadableSource(_("%(path)s cannot be read: %(error)s") % facts) from error
    for document in documents(text):
        yield from _entries(document, path, options)


def _entries(
    document: Document, path: Path, options: Options, kind_of_list: str = ""
) -> Iterator[Entry]:
    """`kind_of_list`: items of a CronJobList, as the API answers it, do not say their kind."""
    where = f"line {document.line}"
    if document.problem:
        finding = impossible(Reason.UNREADABLE, problem=document.problem)
        if _TEMPLATE in document.text:
            finding = impossible(Reason.TEMPLATE, text=document.text[:100])
        yield Entry(key=f"{path.absolute()}:{where}", name=where, where=where, findings=[finding])
        return
    kind = document.value.get("kind") or kind_of_list
    if kind in ("List", "CronJobList"):
        for item in document.items("items"):
            yield from _entries(item, path, options, kind.removesuffix("List"))
    elif kind == "CronJob":
        yield _entry(document.value, where, path, options)


def _entry(value: Mapping[str, Any], where: str, path: Path, options: Options) -> Entry:
    given = value.get("metadata")
    metadata = given if isinstance(given, Mapping) else {}
    name = str(metadata.get("name") or where)
    namespace = str(metadata.get("namespace") or "default")
    full_name = name if namespace == "default" else f"{namespace}/{name}"
    facts: dict[str, Any] = {
        "key": f"{path.absolute()}:{namespace}/{name}",
        "name": full_name,
        "where": where,
    }
    try:
        spec = _known(value.get("spec"), _SPEC, "spec")
        job = _known((spec.get("jobTemplate") or {}).get("spec"), _JOB, "spec.jobTemplate.spec")
        facts["is_enabled"] = not spec.get("suspend", False)
        if left := [text for text in (full_name, str(spec.get("schedule"))) if _TEMPLATE in text]:
            return Entry(**facts, findings=[impossible(Reason.TEMPLATE, text=left[0][:100])])
        values, findings = _columns(spec, job, options.handlers.get(full_name, ""))
        distance = _distance(str(spec.get("schedule", "")))
        if distance is not None:
            return _of_distance(facts, value, values, findings, distance, options)
        fields, zone, of_zone = _zone(spec, options)
        rule = read_rule(fields, zone, Dialect.KUBERNETES)
    except _Unknown as error:
        return Entry(**facts, findings=[impossible(Reason.UNKNOWN_KEY, key=str(error))])
    except UnreadableField as error:
        return Entry(**facts, findings=[unreadable(error, Dialect.KUBERNETES)])
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        problem = f"{type(error).__name__}: {error}"
        return Entry(**facts, findings=[impossible(Reason.UNREADABLE, problem=problem)])
    columns, more, nearest = columns_of_rule(rule)
    return Entry(
        **facts,
        values=values | columns,
        findings=[*of_zone, *findings, *more],
        nearest=nearest,
        rule=rule,
        old=Walker(rule=rule, dialect=Dialect.KUBERNETES),
    )


def _distance(text: str) -> float | None:
    """Returns the seconds of `@every 1h30m`: one of Go's durations. Raises UnreadableField."""
    word, _blank, duration = text.strip().partition(" ")
    if word.lower() != "@every":
        return None
    duration = duration.strip()
    if not _DURATION.fullmatch(duration):
        raise UnreadableField(text.strip())
    parts = _DURATION_PART.findall(duration)
    return sum(float(number) * _SECONDS_OF[unit] for number, unit in parts)


def _of_distance(
    facts: dict[str, Any],
    value: Mapping[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    seconds: float,
    options: Options,
) -> Entry:
    """The controller counts from the last run, or from the creation of the CronJob."""
    status, metadata = (value.get(part) or {} for part in ("status", "metadata"))
    known = status.get("lastScheduleTime") or metadata.get("creationTimestamp")
    start = instant_of(known)
    # robfig/cron rounds: nothing below a second.
    seconds = max(1, int(seconds))
    columns, more, nearest = columns_of_interval(seconds, start)
    old = Distance(start=start or options.now.replace(microsecond=0), seconds=int(seconds))
    return Entry(
        **facts, values=values | columns, findings=findings + more, nearest=nearest, old=old,
        interval_seconds=seconds,
    )  # fmt: skip


def _known(found: object, known: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise TypeError(f"{where} is no mapping")
    if unknown := sorted(set(found) - known):
        raise _Unknown(f"{where}.{unknown[0]}")
    return found


def _zone(spec: Mapping[str, Any], options: Options) -> tuple[str, str, list[Finding]]:
    """Returns the five fields, the zone, and what is to be said of it."""
    fields, named = str(spec.get("schedule", "")), spec.get("timeZone")
    # Newer clusters refuse this; older ones run it.
    if found := _ZONE_IN_FRONT.fullmatch(fields.strip()):
        if named:
            raise ValueError("the schedule names a time zone, and timeZone another one")
        named, fields = found[1], found[2]
    if named:
        if not is_zone(named):
            raise ValueError(f"unknown time zone {named!r}")
        return fields, str(named), []
    zone = options.timezone or "UTC"
    return fields, zone, [] if options.timezone else [differs(Reason.ZONE, zone=zone)]


def _columns(
    spec: Mapping[str, Any], job: Mapping[str, Any], handler: str
) -> tuple[dict[str, Any], list[Finding]]:
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy not in _OVERLAP:
        raise ValueError(f"concurrencyPolicy {policy!r} is none of {', '.join(_OVERLAP)}")
    retries = int(job.get("backoffLimit", _BACKOFF_LIMIT))
    timeout = int(job.get("activeDeadlineSeconds") or _LONGEST_TIMEOUT_SECONDS)
    values: dict[str, Any] = {
        "overlap_policy": _OVERLAP[policy],
        "max_retry": min(retries, _MOST_RETRIES),
        "retry_backoff_seconds": 10,  # as the Job controller: 10 s, 20 s, 40 s ... 6 minutes
        "retry_backoff_max_seconds": 360,
        "timeout_seconds": min(timeout, _LONGEST_TIMEOUT_SECONDS),
    }
    if (late := spec.get("startingDeadlineSeconds")) is not None:
        values |= {"misfire_policy": "skip", "misfire_grace_seconds": int(late)}
    params, findings = _call(job)
    values |= {"handler_name": handler or HANDLER, "handler_params": {} if handler else params}
    if not handler and not params["argv"]:
        findings.append(impossible(Reason.COMMAND))
    if retries > _MOST_RETRIES:
        findings.append(differs(Reason.RETRIES, old=retries, new=_MOST_RETRIES))
    if timeout > _LONGEST_TIMEOUT_SECONDS:
        findings.append(differs(Reason.TIMEOUT, old=timeout, new=_LONGEST_TIMEOUT_SECONDS))
    return values, findings


def _call(job: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Returns the params of the handler `command`, and what of the pod they do not say."""
    pod = job["template"]["spec"]
    container, *others = pod["containers"]
    lost = ["image"]
    env: dict[str, str] = {}
    for variable in container.get("env") or ():
        if "value" in variable:
            env[str(variable["name"])] = _filled_in(variable["value"], env)
        else:
            lost.append(f"env {variable['name']}")
    lost += [name for name in ("envFrom", "volumeMounts", "resources") if container.get(name)]
    lost += ["initContainers"] if pod.get("initContainers") else []
    lost += [f"container {each.get('name')}" for each in others]
    lost += [name for name in ("parallelism", "completions") if (job.get(name) or 1) != 1]
    given = [*(container.get("command") or ()), *(container.get("args") or ())]
    words = [_filled_in(word, env) for word in given]
    if not container.get("command"):
        words = []  # the image decides what runs
    params = params_of_words(words, env, str(container.get("workingDir") or ""))
    return params, [differs(Reason.CONTAINER, what=", ".join(lost))]


def _filled_in(text: object, env: Mapping[str, str]) -> str:
    """Kubernetes fills in `$(NAME)` itself, without a shell. An unknown name stays as it is."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] else env.get(found[2], found[0])

    return _REFERENCE.sub(value, "" if text is None else str(text))
