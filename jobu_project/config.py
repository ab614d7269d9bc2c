"""The configuration: reads config/*.yaml and the environment once, checks them, and freezes them.

No other module reads YAML or environment variables for it. One ConfigError reports all mistakes,
each with its file, its key and the correct value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from dbpools import ConfigurationError
from dbpools.config import DatabaseConfig, SqliteConfig, parse_database
from jobu_project import layout
from jobu_project.cors import CorsConfig
from jobu_project.lists import AppNames, Words, split
from jobu_project.mail import known_mail_url, refuse_mail_without_server
from scheduler.conf import (
    AlertSettings,
    BeatSettings,
    WorkerSettings,
    describe_mistake,
    did_you_mean,
)
from scheduler.setting_types import Count, Section, TimezoneName

FILES = ("database", "scheduler", "worker", "admin", "logging")


class ConfigError(Exception):
    """All mistakes in the configuration. The message has one line for each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__(
            "The configuration cannot be used:\n" + "\n".join(f"- {m}" for m in mistakes)
        )


BROKERS = ("jobufs", "redis", "rediss", "amqp", "amqps", "pyamqp")


def _known_broker(url: str) -> str:
    if url.partition("://")[0] not in BROKERS:  # the message omits the URL: it may hold a password
        raise ValueError(f"must begin with one of {', '.join(f'{name}://' for name in BROKERS)}")
    return url


class SchedulerConfig(BeatSettings):
    """scheduler.yaml."""

    database: str = Field("default", description="the database of jobu's own tables")
    # The URL may hold a password, therefore repr() does not show it.
    broker_url: Annotated[str, AfterValidator(_known_broker)] = Field(
        "jobufs://",
        repr=False,
        description="jobufs:// (files, one host), redis://, rediss://, amqp:// or amqps://",
    )
    mail_url: Annotated[str, AfterValidator(known_mail_url)] = Field(
        "",
        repr=False,
        description="for channels of kind mail: smtp+tls:// (STARTTLS), smtps:// or smtp://",
    )
    mail_from: str = Field("jobu@localhost", description="the sender of mail")
    alerts: AlertSettings = Field(AlertSettings(), description="when people are told, and how")
    traces_exporter: str = Field(
        "otlp",
        description="with `tracing`: where spans go; otlp, console, another exporter that is"
        " installed, or none",
    )

    @model_validator(mode="after")
    def _mail_has_a_server(self) -> SchedulerConfig:
        refuse_mail_without_server(self.alerts, self.mail_url)
        return self


class WorkerConfig(WorkerSettings):
    """worker.yaml."""

    database: str = Field("default", description="the database of jobu's own tables")
    databases: tuple[str, ...] = Field(
        (), description="names from database.yaml that handlers may open"
    )
    pool: Literal["prefork", "threads", "solo"] = Field(
        "threads",
        description="threads (hundreds of async runs in one process) or prefork (blocking or"
        " CPU-bound handlers)",
    )
    concurrency: Count | None = Field(
        None,
        description="runs at once in threads, or children of prefork; without it 100 in threads"
        " and 4 in prefork",
    )
    apps: AppNames = Field(
        (), description="Django apps of yours, such as shop.orders: a list, or one text with commas"
    )


class AdminConfig(Section):
    """admin.yaml: the web side."""

    database: str = Field("default", description="the database of jobu's own tables")
    host: str = Field(
        "127.0.0.1", description="the address on which the launcher's web process listens"
    )
    port: int = Field(8000, gt=0, lt=65536, description="the port of the launcher's web process")
    debug: bool = Field(False, description="show Django's debug pages; never use it in production")
    secret_key: str = Field(
        "", repr=False, description="if empty, jobu creates one and keeps it in the data directory"
    )
    allowed_hosts: Words = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="a list, or one text with commas"
    )
    csrf_trusted_origins: Words = Field((), description="like Django's setting of this name")
    https: bool = Field(
        False,
        description="people use TLS only: cookies are secure, and plain HTTP is redirected",
    )
    hsts_seconds: int = Field(
        31_536_000, ge=0, description="with https: how long browsers use TLS only; 0 sends no HSTS"
    )
    static_root: str = Field(
        "", description="the target of collectstatic; if empty, files are served from the packages"
    )
    timezone: TimezoneName = Field(
        "Asia/Seoul", description="time zone of the pages; the database holds UTC"
    )
    language: Literal["en", "ko"] = Field("en", description="language of the pages")
    flower_url: str = Field("http://127.0.0.1:5555", description="target of the links to Flower")
    cors: CorsConfig = Field(CorsConfig(), description="see below")


LevelName = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class LoggingConfig(Section):
    """logging.yaml."""

    level: LevelName = Field("INFO", description="level of all loggers")
    style: Literal["auto", "console", "json"] = Field(
        "console", description="auto is console on a terminal, else json"
    )
    loggers: dict[str, LevelName] = Field(
        {}, description="levels per logger, for example {dbpools.sql: DEBUG}"
    )


class Config(Section):
    """The whole configuration. `data_dir` holds SQLite files, the file broker, the secret key."""

    data_dir: Path
    databases: dict[str, DatabaseConfig]
    unconfigured_databases: frozenset[str] = frozenset()  # names whose dsn is empty
    scheduler: SchedulerConfig
    worker: WorkerConfig
    admin: AdminConfig
    logging: LoggingConfig

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        problems = []
        homes = {part: getattr(self, part).database for part in ("scheduler", "worker", "admin")}
        if len(set(homes.values())) > 1:
            problems.append(
                f"scheduler, worker and admin must name one job database, found {homes}"
            )
        for part, name in homes.items():
            if name not in self.databases:
                problems.append(
                    f"{part}.database: {name!r} is not among databases: {', '.join(self.databases)}"
                )
        # A name with an empty dsn is allowed: a handler that needs that database reports it.
        known = [*self.databases, *sorted(self.unconfigured_databases)]
        for name in self.worker.databases:
            if name not in known:
                hint = did_you_mean(name, known)
                problems.append(f"worker.databases: {name!r} is not in database.yaml{hint}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def job_database(self) -> DatabaseConfig:
        return self.databases[self.scheduler.database]


_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Returns `text` with the values of ${NAME} and ${NAME:-default}.

    As in the shell, the default replaces a variable that is unset or empty. Raises KeyError with
    the name of a variable that is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        found = environ.get(match["name"], "")
        if found:
            return found
        if match["default"] is not None:
            return match["default"]
        if match["name"] in environ:
            return ""
        raise KeyError(match["name"])

    return _VARIABLE.sub(value, text)


@dataclass
class _Reader:
    """Reads the files of one directory and collects the mistakes."""

    directory: Path
    environ: Mapping[str, str]
    mistakes: list[str]

    def section(self, name: str, key: str) -> dict[str, Any]:
        path = self.directory / f"{name}.yaml"
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            return {}  # every key has a default
        except yaml.YAMLError as error:
            self.mistakes.append(f"{path.name}: cannot be read: {_yaml_problem(error)}")
            return {}
        except (OSError, UnicodeDecodeError) as error:
            self.mistakes.append(f"{path.name}: cannot be read: {error}")
            return {}
        if not isinstance(document, dict) or not isinstance(document.get(key, {}) or {}, dict):
            self.mistakes.append(f"{path.name}: expected a mapping below `{key}:`")
            return {}
        for extra in set(document) - {key}:
            self.mistakes.append(
                f"{path.name}: unknown key {extra!r}{did_you_mean(str(extra), [key])}"
            )
        expanded = self._expand(document.get(key) or {}, f"{path.name}: {key}")
        return expanded if isinstance(expanded, dict) else {}

    def _expand(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {k: self._expand(v, f"{where}.{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self._expand(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str):
            try:
                return expand(value, self.environ)
            except KeyError as missing:
                self.mistakes.append(f"{where}: environment variable {missing.args[0]} is not set")
                return ""
        return value

    def build(self, model: type[Section], data: dict[str, Any], where: str) -> Any:
        try:
            return model(**data)
        except ValidationError as error:
            self.mistakes += [f"{where}{describe_mistake(item, model)}" for item in error.errors()]
            return None
        except TypeError:
            self.mistakes.append(f"{where}: keys must be words, found {sorted(map(str, data))}")
            return None


def load(directory: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Reads the configuration of `directory` (default: JOBU_CONFIG_DIR, else the files of jobu).

    Raises ConfigError with all mistakes.
    """
    environ = os.environ if environ is None else environ
    directory = directory or Path(environ.get("JOBU_CONFIG_DIR") or layout.CONFIG_DIR)
    if not directory.is_dir():
        raise ConfigError([f"{directory}: no such directory (JOBU_CONFIG_DIR)"])
    reader = _Reader(directory, environ, [])
    databases, unconfigured = _databases(reader)
    sections = {
        name: reader.build(model, reader.section(name, name), f"{name}.yaml: {name}")
        for name, model in (
            ("scheduler", SchedulerConfig),
            ("worker", WorkerConfig),
            ("admin", AdminConfig),
            ("logging", LoggingConfig),
        )
    }
    _look_for_unread_apps(sections["worker"], reader)
    config = None
    if not reader.mistakes:
        config = reader.build(
            Config,
            {
                "data_dir": _data_dir(environ),
                "databases": databases,
                "unconfigured_databases": unconfigured,
                **sections,
            },
            "config",
        )
    if config is None:
        raise ConfigError(reader.mistakes)
    assert isinstance(config, Config)
    return config


def _look_for_unread_apps(worker: WorkerConfig | None, reader: _Reader) -> None:
    """A worker.yaml that was copied from an older jobu does not have the key."""
    named = split(reader.environ.get("JOBU_APPS", ""))
    if worker is not None and not set(worker.apps).issuperset(named):
        reader.mistakes.append(
            "worker.yaml: worker.apps: JOBU_APPS names other apps; write `apps: ${JOBU_APPS:-}`"
        )


def _data_dir(environ: Mapping[str, str]) -> Path:
    configured = environ.get("JOBU_DATA_DIR")
    if configured:
        return Path(configured).absolute()
    try:
        return layout.default_data_dir(environ)
    except KeyError as missing:
        raise ConfigError(
            [f"JOBU_DATA_DIR: must be set, because {missing.args[0]} is not set either"]
        ) from missing


def _databases(reader: _Reader) -> tuple[dict[str, DatabaseConfig], frozenset[str]]:
    """Returns the configured databases, and the names of those whose dsn is empty."""
    found: dict[str, DatabaseConfig] = {}
    empty = set()
    for name, entry in reader.section("database", "databases").items():
        keys = entry if isinstance(entry, dict) else {}
        if keys.get("dsn") == "" and not keys.get("path") and not keys.get("host"):
            empty.add(name)
            continue
        try:
            found[name] = parse_database(name, entry)
        except ConfigurationError as error:
            reader.mistakes += [f"database.yaml: {mistake}" for mistake in error.mistakes]
    if not found and not reader.mistakes:
        found["default"] = SqliteConfig(path="jobu.sqlite3")
    return found, frozenset(empty)


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Returns the place and kind of the mistake. Omits words of the file: they may be secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "it is no YAML"
    problem = re.sub(r"'(?!<)[^']{2,}'", "'***'", str(getattr(error, "problem", "")))
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def trusted_proxies() -> frozenset[str]:
    """The addresses whose headers gunicorn believes, by the variable that gunicorn reads."""
    named = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
    return frozenset(named.replace(" ", "").split(","))


@cache
def get_config() -> Config:
    """Returns the configuration of this process. The first call reads the files."""
    return load()
