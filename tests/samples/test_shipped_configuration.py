"""Pools can be created from config/*.yaml as delivered, with the servers' URLs set."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbpools import DatabaseRegistry
from jobu_project.config import ConfigError, load
from jobu_project.databases import pool_databases
from tests.harness.system import ROOT, write_config

SERVERS = {
    "JOBU_POSTGRES_1_URL": "postgresql://u:p@127.0.0.1:5432/shop",
    "JOBU_MYSQL_1_URL": "mysql://u:p@127.0.0.1:3306/shop",
}


async def test_every_database_of_the_samples_is_registered(tmp_path: Path):
    config = load(ROOT / "config", {"JOBU_DATA_DIR": str(tmp_path), **SERVERS})

    await DatabaseRegistry.init_from_config(pool_databases(config))

    assert list(DatabaseRegistry.get_all()) == ["default", "sqlite_2", "postgres_1", "mysql_1"]
    DatabaseRegistry.clear()


def test_invalid_pool_settings_are_reported_when_the_configuration_is_read(tmp_path: Path):
    options = {"sqlite_2": {"options": {"journal_mod": "WAL"}, "pool": {"pool_size": 0}}}
    write_config(tmp_path / "config", {"databases": options})

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config", {"JOBU_DATA_DIR": str(tmp_path)})

    assert len(caught.value.mistakes) == 2
    assert "did you mean 'journal_mode'?" in str(caught.value)
    assert "database.yaml: databases.sqlite_2.pool.pool_size: must be at least 1" in str(
        caught.value
    )
