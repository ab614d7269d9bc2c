"""The log of every process: lines for people on a console, or JSON for machines.

The lines go to standard error. Lines that are logged during a run name the run, also those of other
code that its handler calls.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from jobu_project.config import LoggingConfig
from scheduler.events import facts_of_run

# Packages whose lines at INFO nobody needs.
_QUIET = (
    "amqp",
    "aiosqlite",
    "asyncio",
    "celery.app.trace",  # a line for each task, in addition to ours
    "celery.worker.strategy",
    "kombu",
    "tornado.access",
)
# They have handlers of their own. gunicorn's master reads this through gunicorn.conf.py.
_OWN_HANDLERS = ("django", "django.server", "gunicorn.error")


class RunFilter(logging.Filter):
    """Puts execution_id, job_id, attempt and worker on every line that is logged during a run."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in facts_of_run().items():
            if name not in record.__dict__:
                setattr(record, name, value)
                record._of_run = True  # with the underscore no formatter prints it
        return True


class ConsoleFormatter(logging.Formatter):
    """`10:00:00.123 INFO    scheduler: text`, in UTC, control characters escaped.

    A line that other code logs during a run ends with `[execution 7, attempt 1]`.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        # A job's name or an error may contain line breaks or escape sequences. An event is one
        # line.
        text = _printable(super().formatMessage(record))
        if getattr(record, "_of_run", False) and not record.name.startswith("scheduler"):
            facts = record.__dict__
            text += f" [execution {facts['execution_id']}, attempt {facts['attempt']}]"
        return text

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the base class's name
        # Its lines stay lines. The texts in an exception may contain escape sequences, too.
        return "\n".join(map(_printable, super().formatException(ei).split("\n")))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the base class's name
        return "\n".join(map(_printable, stack_info.split("\n")))


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class JsonLineFormatter(JsonFormatter):
    """A JSON object per line: timestamp (UTC), level, name, message, and the event's fields."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            "%Y-%m-%dT%H:%M:%SZ",
            rename_fields={"asctime": "timestamp", "levelname": "level"},
            json_ensure_ascii=False,
        )


def out_handler(style: Literal["console", "json"]) -> logging.Handler:
    """Returns the handler of a process. With JSON, Python's warnings become lines as well."""
    logging.captureWarnings(style == "json")
    return logging.StreamHandler()


def style_of(config: LoggingConfig, *, is_terminal: bool) -> Literal["console", "json"]:
    """Returns the style. `auto` means console on a terminal and JSON elsewhere."""
    if config.style == "auto":
        return "console" if is_terminal else "json"
    return config.style


def dict_config(config: LoggingConfig) -> dict[str, Any]:
    style = style_of(config, is_terminal=sys.stderr is not None and sys.stderr.isatty())
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "console": {"()": "jobu_project.logs.ConsoleFormatter"},
            "json": {
                "()": "jobu_project.logs.JsonLineFormatter",
            },
        },
        "filters": {"run": {"()": "jobu_project.logs.RunFilter"}},
        "handlers": {
            "out": {
                "()": "jobu_project.logs.out_handler",
                "style": style,
                "formatter": style,
                "filters": ["run"],
            },
        },
        "root": {"level": config.level, "handlers": ["out"]},
        "loggers": {
            **{name: {"level": "WARNING"} for name in _QUIET},
            # Removes the handlers that they bring.
            **{name: {"propagate": True, "handlers": []} for name in _OWN_HANDLERS},
            # jobu.request logs the same, with more facts.
            "gunicorn.access": {"level": "WARNING", "propagate": True, "handlers": []},
            # Every request has its line (jobu.request). What remains is the traceback of a bug.
            "django.request": {"level": "ERROR"},
            # Flower asks for workers when it starts, and complains that none is up yet. Its pages
            # ask again, and they show which workers answer.
            "flower.inspector": {"level": "CRITICAL"},
            **{name: {"level": level} for name, level in config.loggers.items()},
        },
    }
