"""Real beats and a real worker, a real SMTP server and real HTTP receivers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.process_helpers import HANDLERS, SHORT, insert_run, wait_until_final
from tests.harness.receivers import Receiver, answer, http_server, smtp_server
from tests.harness.system import System, deep_merge

pytestmark = pytest.mark.processes

RULES = {"failed": True, "recovered": True}


def insert_job(jobu: System, name: str, rules: dict[str, Any]) -> int:
    """A job that has no slot during the test."""
    jobu.sql(
        "INSERT INTO cron_jobs (name, cron_expression, handler_name, alert_rules)"
        " VALUES (%s, '0 0 1 1 *', 'misbehaves', %s)",
        name,
        json.dumps(rules),
    )
    (row,) = jobu.sql("SELECT id FROM cron_jobs WHERE name = %s", name)
    if "check_ins" in rules:
        jobu.sql("INSERT INTO jobu_check_in_jobs (job_id) VALUES (%s)", row["id"])
    return int(row["id"])


def fail(jobu: System, job_id: int, name: str, how: str = "Exception") -> int:
    params = json.dumps({"how": how})
    return insert_run(jobu, "misbehaves", params=params, max_retry=0, job_id=job_id, job_name=name)


def told(hook: Receiver) -> list[tuple[str, str]]:
    return [(each.json["event"], each.json["job"]) for each in hook.requests]


def test_people_are_told_once_by_any_number_of_beats_and_nothing_waits_for_them(system: Any):
    with smtp_server() as (post, port), http_server() as hook, http_server() as service:
        allowed = {"allow_http": True, "allow_private": True}
        hooks = {"kind": "webhook", "url": hook.url, "secret": "s" * 20, **allowed}
        mail = {"kind": "mail", "to": ["team@example.com"], "from": "jobu@example.com"}
        alerts = {"channels": {"hook": hooks, "mail": mail}, "default_channels": ["hook", "mail"]}
        packages = {"worker": {"handler_packages": ["misbehaving_handlers", "handlers.samples"]}}
        telling = {
            "mail_url": f"smtp://127.0.0.1:{port}",
            "alerts": {**alerts, "check_ins": allowed},
        }
        config = deep_merge(SHORT, deep_merge(packages, {"scheduler": telling}))
        jobu: System = system(config=config, handler_paths=(HANDLERS,))
        jobu.migrate()
        report = insert_job(jobu, "report", RULES)
        check_in = {"kind": "healthchecks", "url": f"{service.url}/ping"}
        deadly = insert_job(jobu, "deadly", {"check_ins": [check_in], "failed": False})
        for _ in range(3):
            jobu.start_beat()
        jobu.start_worker(pool="threads", concurrency=10)
        jobu.wait_until(lambda: len(jobu.sql("SELECT * FROM jobu_alert_cursor")) >= 2, 60, "beat")

        fail(jobu, report, "report")
        jobu.wait_until(lambda: hook.requests and post.letters, 60, "both messages")
        assert told(hook) == [("opened", "report")]
        assert post.letters[0]["Subject"] == "[jobu] report has failed"

        # The receiver is away: what runs goes on, and the end is told when it is back.
        hook.behave = lambda request: answer(request, 503)
        hook.requests.clear()
        other = insert_job(jobu, "other", RULES)
        fail(jobu, other, "other")
        jobu.wait_until(lambda: hook.requests, 30, "a try")
        jobu.wait_until(lambda: len(post.letters) == 2, 30, "the letter over the other channel")
        good = insert_run(jobu, "sample", params=json.dumps({"message": "hi"}))
        assert wait_until_final(jobu, good, 20)["status"] == "SUCCESS"
        hook.behave = lambda request: answer(request, 200)
        hook.requests.clear()

        # A run that ends its own worker: another one starts, beat reports the lost attempt.
        fail(jobu, deadly, "deadly", how="killed")
        jobu.start_worker(pool="threads", concurrency=10)
        jobu.wait_until(lambda: len(service.requests) >= 2, 60, "both check-ins")
        jobu.wait_until(lambda: hook.requests, 60, "the message after the outage")
        assert told(hook) == [("opened", "other")]
        paths = [each.path.partition("?rid=") for each in service.requests]
        assert [path for path, _, _ in paths] == ["/ping/start", "/ping/fail"]
        assert len({rid for _, _, rid in paths}) == 1
        assert len(post.letters) == 2
