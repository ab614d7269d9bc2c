"""Django system checks: they find settings under which jobu cannot keep its promises."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from celery.signals import beat_init, celeryd_init, worker_ready
from django.apps import apps
from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Tags, Warning, register
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, router
from django.db.migrations import Migration

from scheduler.conf import is_own_project
from scheduler.events import emit
from scheduler.operations.celery_app import missing_queue, own_app
from scheduler.store.encodings import WrongEncoding, isolation_of, wrong_encoding
from scheduler.store.jobs import queues_in_use
from scheduler.store.older_versions import unknown_without

_LOOPBACK = {"localhost", "127.0.0.1", "::1", None, ""}


@register()
def check_celery(**_: Any) -> list[CheckMessage]:
    return [*_celery(), *_django(), *_broker()]


@register(Tags.database)
def check_encoding(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """For `migrate` and `check --database default`: whether the database can store every text."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    found = wrong_encoding(connections[DEFAULT_DB_ALIAS])
    if found is None:
        return []
    if found.has_tables:
        return [Warning(_cannot_store(found), hint=_MOVE, id="jobu.W020")]
    return [Error(_cannot_store(found), hint=_repair(found), id="jobu.E020")]


@register(Tags.database)
def check_queues(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Whether messages can be sent to the queues of the jobs. New jobs are refused otherwise."""
    if DEFAULT_DB_ALIAS not in (databases or ()) or own_app().conf.task_create_missing_queues:
        return []
    missing = sorted(filter(None, map(missing_queue, queues_in_use())))
    if not missing:
        return []
    return [
        Warning(
            f"Jobs have queues that the Celery app does not have: {', '.join(missing)}.",
            hint="Add them to CELERY_TASK_QUEUES, or CELERY_TASK_CREATE_MISSING_QUEUES = True.",
            id="jobu.W022",
        )
    ]


@register(Tags.database)
def check_isolation(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """For a project of one's own: jobu_project sets this on each connection."""
    connection = connections[DEFAULT_DB_ALIAS]
    if DEFAULT_DB_ALIAS not in (databases or ()) or connection.vendor == "sqlite":
        return []
    isolation = isolation_of(connection)
    if isolation == "read committed":
        return []
    what, hint = _OTHER_ISOLATION[connection.vendor]
    return [
        Warning(
            f"Transactions of the database {connection.settings_dict['NAME']!r} are {isolation}:"
            f" {what}.",
            hint=f"jobu needs READ COMMITTED. {hint}",
            id="jobu.W021",
        )
    ]


_OTHER_ISOLATION = {
    "postgresql": (
        "claims of executions would fail",
        "ALTER ROLE ... SET default_transaction_isolation = 'read committed'; or set it in OPTIONS"
        " of the database.",
    ),
    # Whoever waits for the guard of a limit would then read what was there before he waited.
    "mysql": (
        "claims of executions would count runs by an old snapshot, and exceed limits",
        'Leave "isolation_level" out of OPTIONS of the database, or set it to "read committed".',
    ),
}


def refuse_wrong_encoding(using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """For `pre_migrate`: no first tables in such a database. Commands in code skip the checks."""
    found = wrong_encoding(connections[using]) if using == DEFAULT_DB_ALIAS else None
    if found is not None and not found.has_tables:
        raise CommandError(f"{_cannot_store(found)} {_repair(found)}")


def refuse_migrating_back(
    using: str = DEFAULT_DB_ALIAS,
    plan: Sequence[tuple[Migration, bool]] = (),
    **_: Any,
) -> None:
    """For `pre_migrate`: nothing is taken back where rows cannot be stored without it.

    Else the database would refuse a constraint in the middle, and be of neither version.
    """
    taken_back = {
        migration.name
        for migration, is_backwards in plan
        if is_backwards and migration.app_label == "scheduler"
    }
    if not taken_back or using != DEFAULT_DB_ALIAS:
        return
    found = unknown_without(taken_back, connections[using])
    if found:
        lines = [f"{each.count} {each.what}: {each.remedy}." for each in found]
        raise CommandError(
            "The older version cannot hold what is in the tables. Nothing was changed.\n"
            + "\n".join(lines)
        )


@beat_init.connect  # type: ignore[untyped-decorator]
@worker_ready.connect  # type: ignore[untyped-decorator]
def log_wrong_encoding(**_: Any) -> None:
    """Logs once per process if the database cannot store every text. Waits for no database."""
    threading.Thread(target=_log_wrong_encoding, name="look-at-encoding", daemon=True).start()


def _log_wrong_encoding() -> None:
    fresh = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        found = wrong_encoding(fresh)
    except (DatabaseError, InterfaceError):
        return  # beat and worker log what is wrong with it
    finally:
        fresh.close()
    if found is not None:
        emit("database.encoding", problem=f"{_cannot_store(found)} {_MOVE}")


_MOVE = (
    "docs/production.md says how to move it"
    " (A database that cannot store every text). jobu goes on with what fits."
)


def _cannot_store(found: WrongEncoding) -> str:
    return (
        f"The database {found.database!r} stores text as {found.encoding}, not {found.needed}:"
        " Korean names, emoji and many other signs cannot be stored."
    )


def _repair(found: WrongEncoding) -> str:
    if found.vendor == "mysql":
        name = found.database.replace("`", "``")
        return f"Run ALTER DATABASE `{name}` CHARACTER SET utf8mb4; and then migrate again."
    name = found.database.replace('"', '""')
    return (
        "PostgreSQL cannot change it. Make the database anew: "
        f"CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0;"
    )


@celeryd_init.connect  # type: ignore[untyped-decorator]
@beat_init.connect  # type: ignore[untyped-decorator]
def refuse_to_start(
    sender: Any = None, instance: Any = None, options: Any = None, **_: Any
) -> None:
    """Stops beat or worker at its start if a check finds an error. Celery ignores Django's checks.

    `options`: those of a worker. They name the pool that really runs, which -P may have chosen.

    Raises SystemExit, because Celery's signals swallow every Exception. A worker of another Celery
    app than the project's may start.
    """
    starting = getattr(instance, "app", None) or getattr(sender, "app", None)
    if starting is not None and starting is not own_app():
        return
    chosen = (options or {}).get("pool_cls") or (options or {}).get("pool")
    found = [*check_celery(), *(_pool(chosen) if chosen else ())]
    # Once each: -P and the configuration may name the same pool.
    errors = dict.fromkeys(str(message) for message in found if message.is_serious(ERROR))
    if errors:
        raise SystemExit("\n".join(["jobu does not start with these settings:", *errors]))


def _celery() -> Iterator[CheckMessage]:
    conf = own_app().conf
    accepted = {str(name).rpartition("/")[2] for name in conf.accept_content or ()}
    if "json" not in accepted:
        yield Error(
            "Celery must accept JSON: jobu's messages are JSON.",
            hint="CELERY_ACCEPT_CONTENT = ['json']",
            id="jobu.E001",
        )
    if accepted - {"json"}:
        # In a project of one's own this is the project's decision.
        kind, number = (Warning, "W003") if is_own_project() else (Error, "E001")
        yield kind(
            f"Celery accepts more than JSON: {', '.join(sorted(accepted - {'json'}))}.",
            hint="CELERY_ACCEPT_CONTENT = ['json']: pickle would let the broker run code.",
            id=f"jobu.{number}",
        )
    yield from _pool(conf.worker_pool)
    if conf.beat_scheduler != "scheduler.beat:JobScheduler":
        yield Error(
            "Celery's beat must use jobu's scheduler, or no job runs by its schedule. Entries of"
            " beat_schedule go on.",
            hint='CELERY_BEAT_SCHEDULER = "scheduler.beat:JobScheduler"',
            id="jobu.E004",
        )


def _pool(pool: object) -> Iterator[CheckMessage]:
    """`pool`: its name, or its class."""
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    hint = "Use --pool=threads for async handlers, --pool=prefork for blocking ones."
    for green in ("gevent", "eventlet"):
        if green in name:
            yield Error(
                f"The {green} pool cannot run handlers: asyncio needs real threads.",
                hint=hint,
                id="jobu.E012",
            )
    if name.rpartition(".")[2] == "solo":
        yield Warning(
            "The solo pool has no hard time limit and is not a tested shape.",
            hint=hint,
            id="jobu.W002",
        )


def _django() -> Iterator[CheckMessage]:
    yield from _router()
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ must be True: the database holds UTC.", hint="USE_TZ = True", id="jobu.E005"
        )
    options = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {})
    engine = settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"]
    if engine.endswith("sqlite3") and options.get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            "Transactions of the project may fail on SQLite while beat or a worker writes.",
            hint='DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE",'
            ' "timeout": 20, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"'
            "}",
            id="jobu.W006",
        )
    if engine.endswith("mysql") and "time_zone" not in options.get("init_command", ""):
        yield Error(
            "MySQL's sessions must be in UTC.",
            hint='DATABASES["default"]["OPTIONS"]["init_command"] = "SET time_zone = \'+00:00\'"',
            id="jobu.E007",
        )


def _router() -> Iterator[CheckMessage]:
    """For `migrate`. Where reads and writes go, the app looks at its start (scheduler/apps.py)."""
    for model in apps.get_app_config("scheduler").get_models():
        name = model._meta.model_name
        if not router.allow_migrate(DEFAULT_DB_ALIAS, model._meta.app_label, model_name=name):
            yield Error(
                "A router of DATABASE_ROUTERS does not let migrate make jobu's table"
                f" {model._meta.db_table!r} in {DEFAULT_DB_ALIAS!r}.",
                hint="At the beginning of its allow_migrate: if app_label == 'scheduler': return"
                " db == 'default'.",
                id="jobu.E013",
            )
            return


def _broker() -> Iterator[CheckMessage]:
    # In a project of one's own the broker is the project's, and a container's network may be safe.
    kind = Warning if is_own_project() else Error
    url = own_app().conf.broker_url
    parts = urlsplit(str((url[0] if isinstance(url, list | tuple) and url else url) or ""))
    if parts.hostname in _LOOPBACK:
        return
    if parts.scheme in ("redis", "rediss") and not parts.password:
        yield kind(
            "The Redis broker has no password and is not on this host.",
            hint="Whoever reaches it can send messages. Set requirepass and redis://:password@host.",
            id="jobu.W008" if kind is Warning else "jobu.E008",
        )
    # Without a user in the URL the client uses RabbitMQ's default account, which everybody knows.
    known = parts.username in (None, "guest") and parts.password in (None, "guest")
    if parts.scheme in ("amqp", "amqps", "pyamqp") and (known or not parts.password):
        yield kind(
            "The RabbitMQ broker is not on this host and has no password of its own.",
            hint="Make a user for jobu: amqp://jobu:password@host/vhost. Remove the user guest.",
            id="jobu.W009" if kind is Warning else "jobu.E009",
        )
