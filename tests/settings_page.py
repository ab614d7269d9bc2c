"""Makes docs/settings.md from the models that read the configuration.

python -m tests.settings_page            # writes the page
python -m tests.settings_page --check    # exit code 1 if the page differs from the models
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from jobu_project.config import (
    AdminConfig,
    LoggingConfig,
    SchedulerConfig,
    WorkerConfig,
)
from jobu_project.cors import CorsConfig
from scheduler.alert_rules import AlertRules
from scheduler.alert_settings import (
    AppriseChannel,
    CheckInLimits,
    DeadMan,
    MailChannel,
    Owner,
    QuietHours,
    WebhookChannel,
)
from scheduler.conf import AlertSettings, CalendarSettings, CommandSettings, MetricsSettings

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "settings.md"

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "scheduler": SchedulerConfig,
    "scheduler.calendars.NAME": CalendarSettings,
    "scheduler.alerts": AlertSettings,
    "scheduler.alerts.channels.NAME, kind mail": MailChannel,
    "scheduler.alerts.channels.NAME, kind webhook": WebhookChannel,
    "scheduler.alerts.channels.NAME, kind apprise": AppriseChannel,
    "scheduler.alerts.owners.NAME": Owner,
    "scheduler.alerts.check_ins": CheckInLimits,
    "scheduler.alerts.dead_man": DeadMan,
    "scheduler.alerts.rules": AlertRules,
    "scheduler.metrics": MetricsSettings,
    "worker": WorkerConfig,
    "worker.commands": CommandSettings,
    "admin": AdminConfig,
    "admin.cors": CorsConfig,
    "logging": LoggingConfig,
}

HEAD: Final = """\
# Settings

Each file of [config/](../config) has one section. Each key has a default, so you may leave out a
key or a whole file. In a value, `${NAME}` and `${NAME:-default}` stand for an environment
variable. jobu refuses an unknown key and names the nearest known one. It reports all mistakes at
once. Durations are in seconds, sizes are in bytes.

`python -m tests.settings_page` generates this page from the models that read the files.
[dbpools.md](dbpools.md) describes the settings of databases and pools.
"""


def page() -> str:
    return "\n".join([HEAD, *(part for name in SECTIONS for part in _section(name))])


def _section(name: str) -> Iterator[str]:
    model = SECTIONS[name]
    yield f"## {name}\n"
    yield f"In `config/{name.partition('.')[0]}.yaml`.\n"
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in model.model_fields.items():
        cells = (
            f"`{field.serialization_alias or key}`",
            _type_of(field),
            _default_of(field),
            field.description or "",
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


_NAMES: Final = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    SecretStr: "text",
    QuietHours: "text",
}


def _type_of(field: FieldInfo) -> str:
    return _words(field.annotation) + _bounds(field)


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return _words(next(each for each in arguments if each is not type(None)))
    if origin in (tuple, frozenset, list):
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping of name to {_words(arguments[1])}"
    if annotation in _NAMES:
        return _NAMES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is not None:  # Annotated
        return _words(arguments[0])
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(field: FieldInfo) -> str:
    words = {Gt: "more than", Ge: "at least", Lt: "less than", Le: "at most"}
    found = [
        f"{text} {getattr(each, kind.__name__.lower())}"
        for each in field.metadata
        for kind, text in words.items()
        if isinstance(each, kind)
    ]
    return f", {' and '.join(found)}" if found else ""


def _default_of(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "needed"
    if isinstance(value, BaseModel) or value in (None, "", (), {}, frozenset()):
        return "none" if not isinstance(value, BaseModel) else ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{', '.join(value)}`"
    return f"`{value}`"


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
