"""When a real beat writes slots, and when it commits them, as PostgreSQL notes it."""

from __future__ import annotations

import pytest

from tests.harness.process_helpers import insert_job
from tests.harness.system import System

# A trigger that is deferred runs in the COMMIT.
NOTES = (
    "CREATE TABLE notes (slot timestamptz, what text, at timestamptz)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO notes VALUES (NEW.scheduled_time, TG_ARGV[0], clock_timestamp());"
    " RETURN NULL; END $$",
    "CREATE TRIGGER note_write AFTER INSERT ON job_executions"
    " FOR EACH ROW EXECUTE FUNCTION note('written')",
    "CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT ON job_executions"
    " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note('committed')",
)


@pytest.mark.processes
@pytest.mark.database("postgres")  # only its triggers can wait for the COMMIT
def test_a_real_beat_writes_slots_before_and_commits_them_after_their_instant(jobu: System):
    for statement in NOTES:
        jobu.sql(statement)
    jobu.start_beat()
    insert_job(jobu, "every second")
    counted = "SELECT count(*) AS n FROM notes WHERE what = 'committed' AND at > slot"
    jobu.wait_until(lambda: jobu.sql(counted)[0]["n"] >= 4, 60, "four slots")

    assert jobu.sql("SELECT * FROM notes WHERE what = 'committed' AND at < slot") == []
    assert jobu.sql("SELECT * FROM notes WHERE what = 'written' AND at < slot")
