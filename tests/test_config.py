"""The configuration: all mistakes are reported at once, helpfully and without secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbpools.config import MySQLConfig, PostgresConfig, ServerConfig, SqliteConfig
from jobu_project import config as config_module
from jobu_project import worker_pool
from jobu_project.config import Config, ConfigError, expand, load
from jobu_project.databases import django_databases, pool_databases, sqlite_path
from jobu_project.layout import ROOT, default_data_dir
from scheduler.conf import GRACE_SECONDS_MAX, TIME_LIMIT_MARGIN_SECONDS
from scheduler.store.claims import DEADLINE_MARGIN_SECONDS
from tests import errors_page, settings_page

SECRET = "s3cr3t-p4ss"

Loader = Callable[..., Config]


@pytest.fixture
def load_files(tmp_path: Path) -> Loader:
    """Returns the function `load_files(environ, database="yaml text", scheduler=...)`."""

    def load_them(environ: dict[str, str] | None = None, **files: str) -> Config:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return load(tmp_path, {"JOBU_DATA_DIR": str(tmp_path / "data"), **(environ or {})})

    return load_them


def mistakes_of(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call()
    assert all(mistake in str(caught.value) for mistake in caught.value.mistakes)
    return caught.value.mistakes


# --- defaults -------------------------------------------------------------------------------------


def test_one_variable_chooses_the_time_zone_of_pages_and_jobs() -> None:
    config = load(environ={"JOBU_TIME_ZONE": "Europe/Berlin", "HOME": "/nowhere"})
    assert config.admin.timezone == config.scheduler.default_timezone == "Europe/Berlin"

    with pytest.raises(ConfigError) as caught:
        load(environ={"JOBU_TIME_ZONE": "Europe/Berln", "HOME": "/nowhere"})
    assert len(caught.value.mistakes) == 2
    assert all("did you mean 'Europe/Berlin'?" in each for each in caught.value.mistakes)


def test_without_files_every_key_has_its_default(load_files: Loader, tmp_path: Path):
    config = load_files()
    assert isinstance(config.job_database, SqliteConfig)
    assert sqlite_path(config, config.job_database) == str(tmp_path / "data" / "jobu.sqlite3")
    assert (config.scheduler.poll_interval_seconds, config.scheduler.retention_days) == (1, 30)
    assert (config.worker.lease_seconds, config.admin.timezone) == (60, "Asia/Seoul")


@pytest.mark.parametrize("section", ["scheduler", "worker", "admin", "logging"])
def test_the_delivered_files_contain_every_key(section: str):
    document = yaml.safe_load((ROOT / "config" / f"{section}.yaml").read_text(encoding="utf-8"))

    assert set(document[section]) == set(settings_page.SECTIONS[section].model_fields)


def test_errors_page_is_generated_from_the_code() -> None:
    """`python -m tests.errors_page` writes the page."""
    assert errors_page.PAGE.read_text(encoding="utf-8") == errors_page.page()


def test_settings_page_is_generated_from_the_models():
    """`python -m tests.settings_page` writes the page."""
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page()


def test_every_setting_has_a_description():
    silent = [
        f"{name}.{key}"
        for name, model in settings_page.SECTIONS.items()
        for key, field in model.model_fields.items()
        if not field.description
    ]

    assert silent == []


def test_the_delivered_files_contain_the_default_values(tmp_path: Path):
    delivered = load(ROOT / "config", {"JOBU_DATA_DIR": str(tmp_path)})
    bare = load_empty(tmp_path)
    for section in ("scheduler", "worker", "admin", "logging"):
        for key, value in getattr(delivered, section).model_dump().items():
            if key in ("calendars", "databases"):
                continue  # examples to start from
            assert value == getattr(bare, section).model_dump()[key], f"{section}.{key}"


def load_empty(tmp_path: Path) -> Config:
    empty = tmp_path / "empty"
    empty.mkdir()
    return load(empty, {})


def test_an_empty_file_is_allowed(load_files: Loader):
    assert (
        load_files(scheduler="", worker="worker:\n", admin="# nothing\n").worker.pool == "threads"
    )


def test_the_directory_can_be_chosen_and_must_exist(tmp_path: Path):
    (tmp_path / "scheduler.yaml").write_text("scheduler: {batch_size: 7}", encoding="utf-8")
    assert load(None, {"JOBU_CONFIG_DIR": str(tmp_path)}).scheduler.batch_size == 7
    (mistake,) = mistakes_of(lambda: load(None, {"JOBU_CONFIG_DIR": str(tmp_path / "gone")}))
    assert "no such directory" in mistake


def test_installed_jobu_uses_the_data_directory_of_the_user() -> None:
    def place(**environ: str) -> str:
        return str(default_data_dir(environ, is_installed=True))

    assert place(HOME="/home/ann") == "/home/ann/.local/share/jobu"
    assert place(HOME="/home/ann", XDG_DATA_HOME="/data") == "/data/jobu"
    assert place(HOME="/home/ann", XDG_DATA_HOME="data") == "/home/ann/.local/share/jobu"
    assert default_data_dir({}, is_installed=False) == ROOT / "data"


# --- mistakes -------------------------------------------------------------------------------------


def test_all_mistakes_of_all_files_are_listed_at_once(load_files: Loader):
    found = mistakes_of(
        lambda: load_files(
            scheduler="scheduler: {pol_interval_seconds: 2, batch_size: 0}",
            worker="worker: {pool: prefrok, lease_seconds: many}",
            admin="admin: {timezone: Asia/Soul, port: 99999}",
            database="databases: {default: {type: postgres}}",
            logging="loging: {level: INFO}",
        )
    )
    text = "\n".join(found)
    for part in (
        "scheduler.pol_interval_seconds: unknown key, did you mean 'poll_interval_seconds'?",
        "scheduler.batch_size: ",
        "worker.pool: ",
        "worker.lease_seconds: ",
        "admin.timezone: unknown time zone 'Asia/Soul', did you mean 'Asia/Seoul'?",
        "admin.port: ",
        "databases.default: database and user missing",
        "logging.yaml: unknown key 'loging', did you mean 'logging'?",
    ):
        assert part in text, part
    assert all(re.match(r"\w+\.yaml: ", mistake) for mistake in found)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"scheduler": "- a list"}, "expected a mapping below `scheduler:`"),
        ({"scheduler": "scheduler: 5"}, "expected a mapping below `scheduler:`"),
        ({"scheduler": "scheduler: {a: ["}, "scheduler.yaml: cannot be read: line 1"),
        ({"scheduler": "scheduler: {poll_interval_seconds: -1}"}, "greater than 0"),
        ({"scheduler": "scheduler: {poll_interval_seconds: .nan}"}, "poll_interval_seconds"),
        ({"scheduler": "scheduler: {max_sleep_seconds: .inf}"}, "max_sleep_seconds"),
        ({"scheduler": "scheduler: {default_timezone: ''}"}, "unknown time zone"),
        ({"scheduler": "scheduler: {1: 2}"}, "keys must be words"),
        ({"scheduler": "scheduler: {calendars: {kr: {contry: KR}}}"}, "did you mean 'country'?"),
        (
            {"scheduler": "scheduler: {republish_seconds: 30}"},
            "republish_seconds is retired: workers look into the table themselves every second;"
            " delete the line",
        ),
        ({"scheduler": "scheduler: {database: other}"}, "must name one job database"),
        (
            {"scheduler": "scheduler: {broker_url: 'sentinel://:p@h:26379'}"},
            "one of jobufs://, redis",
        ),
        ({"scheduler": "scheduler: {broker_url: 'localhost:6379'}"}, "must begin with one of"),
        ({"worker": "worker: {heartbeat_seconds: 20}"}, "at most a quarter of lease_seconds"),
        ({"worker": "worker: {grace_seconds: 25.5}"}, "grace_seconds: must be at most 25"),
        ({"worker": "worker: {max_log_lines: 100001}"}, "max_log_lines"),
        ({"worker": "worker: {max_result_bytes: 1}"}, "max_result_bytes"),
        ({"worker": "worker: {databases: [nowhere]}"}, "'nowhere' is not in database.yaml"),
        ({"admin": "admin: {language: de}"}, "'en' or 'ko'"),
        ({"admin": "admin: {cors: {orgins: []}}"}, "did you mean 'origins'?"),
        ({"logging": "logging: {level: LOUD}"}, "'DEBUG'"),
        ({"database": "databases: {default: {type: oracle}}"}, "'sqlite', 'postgres' or 'mysql'"),
        ({"database": "databases: {default: jobu.db}"}, "databases.default: expected a mapping"),
        ({"database": "databases: {default: {type: sqlite}}"}, "databases.default: path missing"),
        ({"database": "databases: {default: {dsn: 'oracle://x/y'}}"}, "unknown scheme 'oracle'"),
        (
            {"database": "databases: {default: {type: mysql, dsn: 'postgres://u@h/d'}}"},
            "type is 'mysql' but the dsn's scheme says 'postgres'",
        ),
        ({"database": "databases: {default: {dsn: 'postgres://u@h:99999/d'}}"}, "port"),
        ({"database": "databases: {default: {type: sqlite, path: x, pol_size: 3}}"}, "'pool_size'"),
    ],
)
def test_a_mistake_names_its_place_and_the_correct_value(
    files: dict[str, str], expected: str, load_files: Loader
):
    text = "\n".join(mistakes_of(lambda: load_files(**files)))
    assert expected in text
    assert "Traceback" not in text


def test_longest_grace_period_ends_before_another_worker_may_start_the_run(load_files: Loader):
    config = load_files(worker=f"worker: {{grace_seconds: {GRACE_SECONDS_MAX}}}")

    # After the deadline another worker may start the run; after Celery's limit the child is killed.
    assert config.worker.grace_seconds + 5 <= DEADLINE_MARGIN_SECONDS < TIME_LIMIT_MARGIN_SECONDS


# --- variables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("plain", {}, "plain"),
        ("${A}", {"A": "1"}, "1"),
        ("x${A}y${B}z", {"A": "1", "B": "2"}, "x1y2z"),
        ("${A:-default}", {}, "default"),
        ("${A:-default}", {"A": ""}, "default"),
        ("${A:-default}", {"A": "set"}, "set"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("${A:-redis://h:1/0}", {}, "redis://h:1/0"),
        ("${A}", {"A": "${B}", "B": "no second round"}, "${B}"),
        ("$A and $$", {"A": "1"}, "$A and $$"),
        ("${1}", {}, "${1}"),
    ],
)
def test_variables_are_expanded_as_in_the_shell(text: str, environ: dict[str, str], expected: str):
    assert expand(text, environ) == expected


def test_an_unset_variable_is_reported_with_its_key(load_files: Loader):
    (mistake,) = mistakes_of(lambda: load_files(admin="admin: {secret_key: '${NO_SUCH}'}"))
    assert mistake == "admin.yaml: admin.secret_key: environment variable NO_SUCH is not set"


def test_variables_work_in_lists_and_numbers(load_files: Loader):
    config = load_files(
        {"PORT": "8123", "HOST": "example.org"},
        admin="admin: {port: '${PORT}', allowed_hosts: ['${HOST}', localhost]}",
    )
    assert (config.admin.port, config.admin.allowed_hosts) == (8123, ("example.org", "localhost"))


# --- database URLs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("sqlite:///jobu.db", {"type": "sqlite", "path": "jobu.db"}),
        ("sqlite:////var/lib/jobu.db", {"type": "sqlite", "path": "/var/lib/jobu.db"}),
        ("sqlite:///a%20b.db", {"type": "sqlite", "path": "a b.db"}),
        (
            "postgres://user:pass@host:5433/jobu",
            {"type": "postgres", "host": "host", "port": 5433, "database": "jobu", "user": "user",
             "password": "pass"},
        ),
        ("postgresql+psycopg://u@h/d", {"type": "postgres", "host": "h", "port": 5432}),
        ("postgresql://u:p%40ss%2Fw@[::1]/d", {"host": "::1", "password": "p@ss/w"}),
        ("postgresql://u@/d?host=/run/postgresql", {"host": "/run/postgresql"}),
        ("mysql://u:p@h:3307/d", {"type": "mysql", "port": 3307}),
        ("mariadb://u:p@h/d", {"type": "mysql"}),
    ],
)  # fmt: skip
def test_urls_are_parsed(dsn: str, expected: dict[str, Any], load_files: Loader):
    config = load_files(database=f"databases: {{default: {{dsn: '{dsn}'}}}}")
    assert {key: getattr(config.job_database, key) for key in expected} == expected


def test_a_separate_key_overrides_its_part_of_the_url(load_files: Loader):
    config = load_files(
        database="databases: {default: {dsn: 'postgres://u:a@h/d', password: b, pool_size: 3}}"
    )
    assert isinstance(config.job_database, PostgresConfig)
    assert (config.job_database.password, config.job_database.pool.max_size) == ("b", 3)


def test_an_entry_with_an_empty_url_is_not_configured_here(load_files: Loader):
    text = "databases: {default: {type: sqlite, path: x}, mysql_1: {dsn: '${MYSQL_URL:-}'}}"
    config = load_files(database=text, worker="worker: {databases: [mysql_1]}")
    assert set(config.databases) == {"default"}


def test_django_and_the_pools_share_one_section(load_files: Loader, tmp_path: Path):
    config = load_files(database="databases: {default: {type: sqlite, path: sub/j.db}}")
    entry = django_databases(config)["default"]
    assert entry["NAME"] == str(tmp_path / "data" / "sub" / "j.db")
    assert entry["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_connection_to_a_vanished_postgresql_host_fails_within_half_a_minute(load_files: Loader):
    config = load_files(database="databases: {default: {dsn: 'postgres://u@h/d'}}")
    given = django_databases(config)["default"]["OPTIONS"]
    probes = given["keepalives_interval"] * given["keepalives_count"]
    assert given["keepalives_idle"] + probes == 25
    assert given["tcp_user_timeout"] / 1000 + given["connect_timeout"] == 25


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("{type: sqlite, path: ':memory:'}", "path"),
        ("{type: sqlite, path: 'file:x?mode=memory'}", "path"),
        (
            "{dsn: 'mysql://u@h/d', options: {sql_mode: 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'}}",
            "options.sql_mode",
        ),
    ],
)
def test_options_that_the_engine_does_not_support_are_refused(
    entry: str, key: str, load_files: Loader
):
    text = f"databases: {{default: {{type: sqlite, path: x}}, other: {entry}}}"

    (mistake,) = mistakes_of(lambda: load_files(database=text))

    assert mistake.startswith(f"database.yaml: databases.other.{key}")


# --- TLS ------------------------------------------------------------------------------------------


def django_options(load_files: Loader, entry: str) -> dict[str, Any]:
    config = load_files(database=f"databases: {{default: {entry}}}")
    options: dict[str, Any] = django_databases(config)["default"]["OPTIONS"]
    return {key: value for key, value in options.items() if key.startswith("ssl")}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{dsn: 'postgres://u@h/d'}", {}),
        ("{dsn: 'postgres://u@h/d', options: {ssl: false}}", {}),
        ("{dsn: 'postgres://u@h/d', options: {ssl: require}}", {"sslmode": "require"}),
        (
            "{dsn: 'postgres://u@h/d', options: {ssl: true}}",
            {"sslmode": "verify-full", "sslrootcert": "system"},
        ),
        (
            "{dsn: 'postgres://u@h/d', options: {ssl: true, sslrootcert: /ca.pem}}",
            {"sslmode": "verify-full", "sslrootcert": "/ca.pem"},
        ),
        (
            "{dsn: 'postgres://u@h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem'}",
            {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"},
        ),
        ("{dsn: 'mysql://u@h/d'}", {"ssl_disabled": False}),
        ("{dsn: 'mysql://u@localhost/d'}", {"ssl_disabled": True}),
        ("{dsn: 'mysql://u@/d?host=/run/socket'}", {"ssl_disabled": True}),
        ("{dsn: 'mysql://u@h/d?ssl-mode=DISABLED'}", {"ssl_disabled": True}),
        (
            "{dsn: 'mysql://u@localhost/d?ssl-mode=REQUIRED'}",
            {"ssl": {"check_hostname": False, "verify_mode": False}},
        ),
        (
            "{dsn: 'mysql://u@h/d?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem'}",
            {"ssl": {"check_hostname": True, "verify_mode": True, "ca": "/ca.pem"}},
        ),
        (
            "{dsn: 'mysql://u@h/d', options: {ssl: verify-ca, sslrootcert: /ca.pem}}",
            {"ssl": {"check_hostname": False, "verify_mode": True, "ca": "/ca.pem"}},
        ),
    ],
)
def test_the_tls_settings_of_a_database_reach_django(
    entry: str, expected: dict[str, Any], load_files: Loader
):
    assert django_options(load_files, entry) == expected


def test_the_tls_settings_of_a_url_override_the_delivered_file_in_the_pools(tmp_path: Path):
    config = load(
        ROOT / "config",
        {
            "JOBU_DATA_DIR": str(tmp_path),
            "JOBU_POSTGRES_1_URL": "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem",
            "JOBU_MYSQL_1_URL": "mysql://u@h/d?ssl-mode=VERIFY_CA&ssl-ca=/ca.pem",
        },
    )
    tls = {
        name: (entry.options.ssl, entry.options.sslrootcert)
        for name, entry in pool_databases(config).items()
        if isinstance(entry, (PostgresConfig, MySQLConfig))
    }
    assert tls == {
        "postgres_1": ("verify-full", "/ca.pem"),
        "mysql_1": ("verify-ca", "/ca.pem"),
    }


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{dsn: 'postgres://u@h/d?connect_timeout=3'}", "'connect_timeout' is not possible"),
        ("{dsn: 'postgres://u@h/d?sslmode=verify-ful'}", "sslmode must be one of disable, allow"),
        ("{dsn: 'postgres://u@h/d?sslmode='}", "sslmode must be one of"),
        ("{dsn: 'postgres://u@h/d?sslmode=require', options: {ssl: true}}", "contradicts"),
        ("{dsn: 'postgres://u@h/d?sslrootcert=/ca.pem'}", "verifies nothing"),
        (
            "{dsn: 'postgres://u@h/d', options: {ssl: verify-ful}}",
            "options.ssl: must be one of false, true, disable",
        ),
        (
            "{dsn: 'postgres://u@h/d', options: {sll: true}}",
            "options.sll: unknown key; did you mean 'ssl'?",
        ),
        ("{dsn: 'mysql://u@h/d?ssl-mode=required'}", "ssl-mode must be one of DISABLED, REQUIRED"),
        ("{dsn: 'mysql://u@h/d?charset=latin1'}", "possible: host, ssl-mode, ssl-ca"),
        ("{dsn: 'mysql://u@h/d?ssl-mode=VERIFY_CA'}", "verify-ca needs sslrootcert (ssl-ca)"),
        ("{dsn: 'mysql://u@h/d', options: {ssl: true}}", "true needs sslrootcert"),
        ("{dsn: 'sqlite:///jobu.db?timeout=20'}", "'timeout' is not possible"),
    ],
)
def test_an_unsupported_part_of_a_url_is_refused_by_name(
    entry: str, expected: str, load_files: Loader
):
    (mistake,) = mistakes_of(lambda: django_options(load_files, entry))
    assert mistake.startswith("database.yaml: databases.default")
    assert expected in mistake


# --- secrets --------------------------------------------------------------------------------------


def test_no_repr_contains_a_secret(load_files: Loader):
    config = load_files(
        {"PASSWORD": SECRET},
        database="databases: {default: {dsn: 'postgres://u:${PASSWORD}@h/d'}}",
        scheduler="scheduler: {broker_url: 'redis://:${PASSWORD}@h/0'}",
        admin="admin: {secret_key: '${PASSWORD}'}",
    )
    assert isinstance(config.job_database, ServerConfig)
    assert config.job_database.password == SECRET
    assert SECRET not in repr(config)
    assert SECRET not in str(config)


@pytest.mark.parametrize(
    "files",
    [
        {"database": f"databases: {{default: {{type: postgress, password: {SECRET}}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://u:{SECRET}@h:x/d'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://u:{SECRET}/@h/d'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://u:{SECRET}\u2100@h/d'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://[u:{SECRET}@h/d'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://u:1?{SECRET}=1@h/d'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'postgres://u@h/d?password={SECRET}'}}}}"},
        {"database": f"databases: {{default: {{dsn: 'oracle://u:{SECRET}@h/d'}}}}"},
        {"database": f"databases: {{default: {{type: mysql, database: d, user: [{SECRET}]}}}}"},
        {"database": f"databases: {{default: {{type: mysql, port: 'x{SECRET}'}}}}"},
        {"database": f"databases: {{default: 'postgres://u:{SECRET}@h/d'}}"},
        {"database": f"databases: {{default: {{type: postgres, password: [{SECRET}]}}}}"},
        {"database": f"databases:\n  default:\n    password: '{SECRET}\n    x: y\n"},
        {"database": f"databases:\n  default:\n   password: {SECRET}: x\n"},
        {"database": f"databases:\n  default:\n   password: *{SECRET}\n"},
        {"database": f"databases:\n  default:\n   password: !{SECRET} x\n"},
        {"admin": f"admin: {{secret_key: [{SECRET}]}}"},
        {"admin": f"admin: {{secret_key: '${{A:-{SECRET}}}', port: '{SECRET}'}}"},
        {"scheduler": f"scheduler: {{broker_url: ['redis://:{SECRET}@h']}}"},
        {"scheduler": f"scheduler: {{broker_url: '{SECRET}@h:6379'}}"},
    ],
)
def test_no_error_message_contains_a_secret(files: dict[str, str], load_files: Loader):
    with pytest.raises(ConfigError) as caught:
        load_files(**files)
    seen = f"{caught.value}\n{caught.value!r}\n{caught.value.__cause__}\n{caught.value.__context__}"
    assert SECRET not in seen


def test_the_configuration_of_a_process_is_read_once():
    assert config_module.get_config() is config_module.get_config()


@pytest.mark.parametrize(
    ("arguments", "pool"),
    [
        ("celery -A jobu_project worker", None),
        ("celery -A jobu_project worker --pool=prefork -c 2", "prefork"),
        ("celery -A jobu_project worker -P threads", "threads"),
        ("celery -A jobu_project worker -Psolo", "solo"),
        ("celery -A jobu_project worker --pool prefork", "prefork"),
        ("celery -A jobu_project worker -P", None),
        ("celery -A jobu_project flower --pool=prefork", None),
    ],
)
def test_the_command_line_of_a_worker_names_its_pool(arguments: str, pool: str | None):
    assert worker_pool.pool_of(arguments.split()) == pool


def test_a_worker_has_many_places_in_threads_and_few_children():
    assert [worker_pool.CONCURRENCY[pool] for pool in ("threads", "prefork", "solo")] == [100, 4, 4]
