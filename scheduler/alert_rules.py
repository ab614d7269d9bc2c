"""The rules of alerts: what people are told of a job. One model for settings, tags and jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from scheduler.alert_settings import MOST_CHECK_INS, CheckIn
from scheduler.setting_types import Section
from scheduler.states import ReasonCode

#: Reasons of SKIPPED rows, which `skipped` may name.
SKIP_REASONS: Final = (
    ReasonCode.MISFIRE.value,
    ReasonCode.MISSED.value,
    ReasonCode.OVERLAP_RUNNING.value,
    ReasonCode.OVERLAP_WAITING.value,
    ReasonCode.OVERLAP_NEWER.value,
    ReasonCode.UPSTREAM_MISSING.value,
)
_WEEK: Final = 604_800


def _off(value: object) -> object:
    """`false` switches a rule with a number off, as `null` does."""
    if value is True:
        raise ValueError("must be a number, or false")
    return None if value is False else value


def _known_reason(value: str) -> str:
    if value not in SKIP_REASONS:
        raise ValueError(f"must be one of {', '.join(SKIP_REASONS)}")
    return value


# The limits come first, so that they are those of the number. After a validator pydantic compares
# None with them, too, and raises TypeError.
_OFF: Final = BeforeValidator(_off)
_Span = Annotated[int | None, Field(ge=1, le=_WEEK), _OFF]
_Row = Annotated[int | None, Field(ge=2, le=100), _OFF]
_Factor = Annotated[float | None, Field(gt=1, le=1000, allow_inf_nan=False), _OFF]
_Reason = Annotated[str, AfterValidator(_known_reason)]


class AlertRules(Section):
    """What people are told. A key that is left out is as the more general rules say."""

    failed: bool | None = Field(None, description="a run failed, and no retry is left")
    failed_in_a_row: _Row = Field(None, description="so many runs failed one after the other")
    not_started_seconds: _Span = Field(
        None, description="no worker has begun a run so long after its slot"
    )
    longer_than_seconds: _Span = Field(None, description="a run goes on for longer")
    longer_than_p95_factor: _Factor = Field(
        None,
        description="a run goes on for longer than so many times what 95 % of the last successful"
        " runs took; at least 20 of those are needed",
    )
    recovered: bool | None = Field(None, description="the end of each alert, too")
    switched_off: bool | None = Field(
        None, description="beat has switched the job off, because its schedule cannot be used"
    )
    missed: bool | None = Field(
        None, description="slots passed while no beat was there, and are not run"
    )
    skipped: tuple[_Reason, ...] | None = Field(
        None, description=f"slots are skipped for these reasons: {', '.join(SKIP_REASONS)}"
    )
    approval: bool | None = Field(None, description="a run waits for a person to approve it")
    channels: tuple[str, ...] | None = Field(
        None, description="who is told; none: the owner's channels, else `default_channels`"
    )
    check_ins: Annotated[tuple[CheckIn, ...], Field(max_length=MOST_CHECK_INS)] | None = Field(
        None, description="who is told of each start and end (docs/alert-channels.md)"
    )

    @property
    def asks_for_alerts(self) -> bool:
        """Whether any rule is on."""
        return any(getattr(self, name) for name in _ALERTING)


_ALERTING: Final = tuple(
    name for name in AlertRules.model_fields if name not in ("recovered", "channels", "check_ins")
)

#: What holds for all jobs where the settings say nothing and `default_channels` names a channel.
USUAL: Final = AlertRules(
    failed=True,
    not_started_seconds=600,
    switched_off=True,
    missed=True,
    approval=True,
    recovered=True,
)
NONE: Final = AlertRules()


def merge(rules: Sequence[AlertRules]) -> AlertRules:
    """Returns the rules that hold: each key as the last of `rules` that has it says."""
    values: dict[str, Any] = {}
    for each in rules:
        values |= {name: getattr(each, name) for name in each.model_fields_set}
    return AlertRules.model_construct(_fields_set=set(values), **values)


def stored_rules(value: object) -> AlertRules:
    """Returns a job's own rules as its row has them. What SQL has typed and is no rule: none."""
    if not isinstance(value, Mapping) or not value:
        return NONE
    try:
        return AlertRules.model_validate(dict(value))
    # A validator that meets what it cannot compare raises TypeError. One row must stop no other.
    except (ValueError, TypeError):
        return NONE
