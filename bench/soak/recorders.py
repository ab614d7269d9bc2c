"""Triggers with which the database itself writes down what changes during a soak."""

from __future__ import annotations

from tests.harness.system import System

# Tables and triggers for the three databases. jobu itself does not use them.
_TABLES = (
    "CREATE TABLE soak_changes (id {serial}, execution_id BIGINT, before_status VARCHAR(20),"
    " after_status VARCHAR(20))",
    "CREATE TABLE soak_watermarks (id {serial}, job_id BIGINT, next_run_at VARCHAR(40))",
)
_SERIAL = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGSERIAL PRIMARY KEY",
    "mysql": "BIGINT AUTO_INCREMENT PRIMARY KEY",
}
_CHANGED = "INSERT INTO soak_changes (execution_id, before_status, after_status)"
_MOVED = "INSERT INTO soak_watermarks (job_id, next_run_at)"
_TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER soak_new AFTER INSERT ON job_executions BEGIN {_CHANGED}"
        " VALUES (NEW.id, NULL, NEW.status); END",
        "CREATE TRIGGER soak_changed AFTER UPDATE OF status ON job_executions"
        f" WHEN OLD.status <> NEW.status BEGIN {_CHANGED}"
        " VALUES (NEW.id, OLD.status, NEW.status); END",
        "CREATE TRIGGER soak_moved AFTER UPDATE OF next_run_at ON cron_jobs"
        " WHEN NEW.next_run_at IS NOT NULL AND OLD.next_run_at IS NOT NEW.next_run_at"
        f" BEGIN {_MOVED} VALUES (NEW.id, NEW.next_run_at); END",
    ),
    "postgresql": (
        "CREATE FUNCTION soak_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'INSERT' THEN {_CHANGED} VALUES (NEW.id, NULL, NEW.status);"
        f" ELSIF OLD.status <> NEW.status THEN {_CHANGED} VALUES (NEW.id, OLD.status, NEW.status);"
        " END IF; RETURN NULL; END $$",
        "CREATE TRIGGER soak_changed AFTER INSERT OR UPDATE OF status ON job_executions"
        " FOR EACH ROW EXECUTE FUNCTION soak_change()",
        "CREATE FUNCTION soak_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.next_run_at IS NOT NULL AND OLD.next_run_at IS DISTINCT FROM NEW.next_run_at"
        f" THEN {_MOVED} VALUES (NEW.id, (NEW.next_run_at AT TIME ZONE 'UTC')::text);"
        " END IF; RETURN NULL; END $$",
        "CREATE TRIGGER soak_moved AFTER UPDATE OF next_run_at ON cron_jobs"
        " FOR EACH ROW EXECUTE FUNCTION soak_move()",
    ),
    "mysql": (
        f"CREATE TRIGGER soak_new AFTER INSERT ON job_executions FOR EACH ROW {_CHANGED}"
        " VALUES (NEW.id, NULL, NEW.status)",
        f"CREATE TRIGGER soak_changed AFTER UPDATE ON job_executions FOR EACH ROW {_CHANGED}"
        " SELECT NEW.id, OLD.status, NEW.status FROM DUAL WHERE OLD.status <> NEW.status",
        f"CREATE TRIGGER soak_moved AFTER UPDATE ON cron_jobs FOR EACH ROW {_MOVED}"
        " SELECT NEW.id, NEW.next_run_at FROM DUAL WHERE NEW.next_run_at IS NOT NULL"
        " AND NOT (OLD.next_run_at <=> NEW.next_run_at)",
    ),
}


def install_recorders(system: System) -> None:
    """Creates triggers that record every status change and every move of a watermark."""
    kind = system.database_url.partition(":")[0]
    for statement in _TABLES:
        system.sql(statement.format(serial=_SERIAL[kind]))
    for statement in _TRIGGERS[kind]:
        system.sql(statement)
