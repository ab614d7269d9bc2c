"""A real beat on a database whose clock is moved."""

from __future__ import annotations

import pytest

from tests.harness.process_helpers import insert_job, slots_recorded
from tests.harness.system import System


@pytest.mark.processes
@pytest.mark.database("postgres")  # only its clock can be moved by a function of ours
def test_a_real_beat_says_that_the_clock_went_back(jobu: System):
    jobu.sql("CREATE SCHEMA shifted")
    jobu.sql("CREATE TABLE shifted.by (seconds integer)")
    jobu.sql("INSERT INTO shifted.by VALUES (0)")
    jobu.sql(
        "CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        " 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM shifted.by'"
    )
    (name,) = jobu.sql("SELECT current_database() AS name")
    jobu.sql(f'ALTER DATABASE "{name["name"]}" SET search_path = shifted, pg_catalog, public')
    insert_job(jobu, "every second")
    beat = jobu.start_beat()
    jobu.wait_until(lambda: slots_recorded(jobu) >= 2, 60, "slots")

    jobu.sql("UPDATE shifted.by SET seconds = -3600")
    beat.wait_for_log("s before its latest time", 20)
    before = slots_recorded(jobu)
    jobu.sql("UPDATE shifted.by SET seconds = 0")
    beat.wait_for_log("the database's clock is right again", 20)
    jobu.wait_until(lambda: slots_recorded(jobu) > before, 20, "slots again")
    assert beat.log().count("s before its latest time") == 1
