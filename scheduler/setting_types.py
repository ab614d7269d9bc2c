"""What the models of settings are made of."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dbpools.nearest import nearest


def known_timezone(name: str) -> str:
    """Returns `name`. ValueError with the nearest name where this host knows no such zone."""
    if name not in available_timezones():
        hint = nearest(name, available_timezones())
        raise ValueError(
            f"unknown time zone {name!r}" + (f", did you mean {hint!r}?" if hint else "")
        )
    return name


TimezoneName = Annotated[str, AfterValidator(known_timezone)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are refused; nothing changes after it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
