"""What is wrong with the rules of alerts that a job has: the one rule of all doors."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext as _

from handlers import InvalidParamsError
from handlers.params import as_model, checked_mapping
from scheduler.alert_rules import AlertRules, merge
from scheduler.alert_settings import unknown_channels
from scheduler.conf import AlertSettings
from scheduler.models import CronJob


def rules_problems(job: CronJob, settings: AlertSettings) -> list[str] | InvalidParamsError:
    """Returns what is wrong with a job's `alert_rules`. Empty: nothing.

    An InvalidParamsError names the wrong keys.
    """
    given = job.alert_rules
    if not isinstance(given, Mapping):
        return [_("must be a JSON object")]
    if not given:
        return []
    try:
        own = as_model(AlertRules, checked_mapping(given))
    except InvalidParamsError as error:
        return error
    if problem := unknown_channels(own.channels or (), settings.channels):
        return [problem]
    for number, check_in in enumerate(own.check_ins or ()):
        if problem := check_in.problem(settings.check_ins):
            return [f"check_ins.{number}: {problem}"]
    if own.asks_for_alerts and not _has_channel(job, own, settings):
        return [
            _(
                "names no channel, and neither its tags, its owner nor the settings name one:"
                " nobody would be told"
            )
        ]
    return []


def _has_channel(job: CronJob, own: AlertRules, settings: AlertSettings) -> bool:
    of_tags = [settings.tags[tag] for tag in job.tags if tag in settings.tags]
    owner = settings.owners.get(job.owner)
    holds = merge([settings.default_rules, *of_tags, own])
    return bool(holds.channels or (owner and owner.channels) or settings.default_channels)
