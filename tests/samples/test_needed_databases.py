"""Without a database that the handler needs, saving warns and runs fail with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dbpools import DatabaseRegistry
from handlers import (
    BaseHandler,
    DatabaseNotConfiguredError,
    get_registered_handlers,
    handler,
    registry,
    require_databases,
)
from handlers.databases import database_warning
from handlers.runner import OutcomeKind, run_handler
from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.control import Control
from tests.handlers.conftest import ListSink, run_info


@pytest.fixture(autouse=True)
def own_registry():
    with registry.restored():
        yield
    DatabaseRegistry.clear()


def make_handler(*databases: str) -> type[BaseHandler]:
    async def execute(self: BaseHandler, params: Any) -> dict[str, Any]:
        return {"done": True}

    members = {"execute": execute, "databases": databases, "__module__": __name__}
    return handler("needs")(type("Needs", (BaseHandler,), members))


async def test_a_run_without_its_database_fails_without_retries_and_says_what_to_do():
    make_handler("shop")

    outcome = await run_handler(run_info("needs"), {}, ListSink())

    assert outcome.kind is OutcomeKind.INVALID
    assert outcome.retryable is False
    for word in ("'shop'", "config/database.yaml", "JOBU_SHOP_URL", "worker.databases", "restart"):
        assert word in outcome.error


async def test_a_run_with_its_databases_succeeds(tmp_path: Path):
    make_handler("shop")
    await DatabaseRegistry.init_from_config(
        {"shop": {"type": "sqlite", "path": str(tmp_path / "shop.sqlite3")}}
    )

    outcome = await run_handler(run_info("needs"), {}, ListSink())

    assert outcome.kind is OutcomeKind.SUCCESS


def test_only_the_missing_databases_are_named():
    warning = database_warning(["shop", "stock", "books"], {"stock": {}})

    assert warning is not None
    assert "databases 'shop' and 'books' are not configured" in warning
    assert "stock" not in warning


def test_no_warning_when_no_database_is_missing():
    assert database_warning(["shop"], {"shop": {}}) is None
    assert database_warning([], {}) is None


def test_require_databases_names_the_missing_databases():
    with pytest.raises(DatabaseNotConfiguredError) as caught:
        require_databases("shop", "stock")

    assert caught.value.names == ("shop", "stock")


def test_databases_given_as_a_string_are_refused():
    members = {"execute": BaseHandler.execute, "databases": "shop", "__module__": __name__}

    with pytest.raises(TypeError, match=r"must be a tuple: \('shop',\)"):
        handler("slip")(type("Slip", (BaseHandler,), {**members, "execute": lambda s, p: None}))


@pytest.mark.database
@pytest.mark.django_db
def test_a_job_with_a_missing_database_is_saved_with_a_warning(settings: Any):
    make_handler("shop")
    settings.JOBU = SchedulerSettings(default_timezone="UTC", databases={"default": {}})
    job = Control().create_job(name="a", cron_expression="* * * * *", handler_name="needs")

    (warning,) = Control().warnings(job)

    assert warning.startswith("The database 'shop' is not configured in this process. Unless")
    settings.JOBU = settings.JOBU.model_copy(update={"databases": {"default": {}, "shop": {}}})
    assert Control().warnings(job) == []


@pytest.mark.database
@pytest.mark.django_db
def test_a_job_with_an_unknown_handler_has_a_problem_and_no_warning():
    assert Control().warnings(CronJob(handler_name="nobody")) == []


def test_every_sample_declares_its_databases():
    needs = {name: cls.databases for name, cls in get_registered_handlers().items()}

    assert needs["sample"] == ()
    assert needs["sample1"] == needs["sqlite_crud"] == ("sqlite_2",)
    assert needs["sample3"] == ("sqlite_2", "postgres_1")
    assert needs["sample5"] == ("postgres_1", "mysql_1")
    assert needs["sample6"] == needs["sample9"] == ("sqlite_2", "postgres_1", "mysql_1")
