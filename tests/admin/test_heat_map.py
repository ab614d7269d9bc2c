"""The heat map, and spreading the jobs of the full hour, on each job database."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from scheduler.admin.timeline import heat
from scheduler.models import Activity, CronJob
from scheduler.operations.spreading import Way, propose
from tests.admin.test_admin import make_job

pytestmark = [pytest.mark.django_db, pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

PAGE = "/admin/timeline/heat/"


@pytest.fixture(autouse=True)
def _no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "_WITHIN_SECONDS", 60.0)


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def expressions() -> dict[str, str]:
    return dict(CronJob.objects.values_list("name", "cron_expression"))


def post(client: Client, page: Any, **other: str) -> Any:
    """Sends the form of the proposal as it is on the page."""
    text = page.content.decode()
    sent: dict[str, Any] = {
        name: re.findall(rf'name="{name}" value="([^"]*)"', text) for name in ("job", "seen")
    }
    return client.post(PAGE, {**sent, "way": "minute", "apply": "1", **other}, follow=True)


def test_map_counts_planned_slots_by_weekday_and_hour_of_the_reader(admin: Client) -> None:
    for number in range(3):
        make_job(name=f"monday {number}", cron_expression="0 3 * * 1", timezone="Asia/Seoul")
    make_job(name="hourly", cron_expression="30 * * * *", timezone="UTC")

    page = admin.get(PAGE)

    counts = [[int(cell["text"]) for cell in day["cells"]] for day in page.context["days"]]
    assert counts[0][3] == 4
    assert sum(map(sum, counts)) == 3 + 7 * 24
    assert page.context["minutes"][0]["count"] == "3"
    assert page.context["minutes"][30]["count"] == "24"
    assert [job.name for job in page.context["herd"]] == ["monday 0", "monday 1", "monday 2"]


def test_chosen_jobs_come_apart_after_a_preview_and_each_change_is_in_the_history(
    admin: Client,
) -> None:
    jobs = [make_job(name=f"job {number}", cron_expression="0 3 * * *") for number in range(3)]
    before = expressions()

    preview = admin.post(PAGE, {"job": [jobs[0].pk, jobs[1].pk], "way": "minute", "preview": "1"})

    assert expressions() == before
    assert [each["change"].new for each in preview.context["changes"]] == ["1 3 * * *", "2 3 * * *"]
    CronJob.objects.filter(pk=jobs[1].pk).update(tick_seq=99)
    answer = post(admin, preview)
    assert expressions() == {**before, "job 0": "1 3 * * *"}
    assert len(list(answer.context["messages"])) == 2
    changed = Activity.objects.filter(verb="changed")
    assert [(entry.target_name, entry.actor) for entry in changed] == [("job 0", "alice")]

    jitter = admin.post(PAGE, {"job": [jobs[2].pk], "way": "jitter", "preview": "1"})
    post(admin, jitter, way="jitter")
    assert CronJob.objects.get(name="job 2").jitter_seconds == 600


@once
def test_bad_input_and_a_reader_change_nothing(
    admin: Client, django_user_model: type[User]
) -> None:
    job = make_job(name="job", cron_expression="0 3 * * *")
    other = make_job(name="other", cron_expression="*/5 * * * *")
    before = expressions()
    for ids in (["x"], ["9" * 30], ["-1"], [str(other.pk)], []):
        answer = admin.post(PAGE, {"job": ids, "apply": "1", "seen": "1:2:3"})
        assert answer.status_code == 200
        assert list(answer.context["messages"])
    admin.post(PAGE, {"job": [job.pk], "apply": "1", "seen": f"{job.pk}:{job.tick_seq}:5 3 * * *"})
    reader = django_user_model.objects.create_user("bob", "b@example.com", is_staff=True)
    client = Client()
    client.force_login(reader)
    assert client.get(PAGE).status_code == 403
    reader.user_permissions.set(Permission.objects.filter(codename="view_cronjob"))
    assert client.get(PAGE).status_code == 200
    assert client.post(PAGE, {"job": [job.pk], "apply": "1"}).status_code == 403
    assert expressions() == before


@once
def test_a_proposal_takes_the_emptiest_minutes() -> None:
    jobs = [CronJob(pk=n, name=str(n), cron_expression="0 1 * * *") for n in range(1, 4)]
    starts = dict.fromkeys(range(60), 5) | {7: 0, 9: 1}
    assert [change.new[:2] for change in propose(jobs, Way.MINUTE, starts)] == ["7 ", "7 ", "9 "]
