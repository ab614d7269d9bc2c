"""The page of an ordinary Celery task: what it was called with and returned, without secrets."""

from __future__ import annotations

import json

import pytest
from celery.utils.saferepr import saferepr
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from scheduler.operations.masking import MASK

pytestmark = pytest.mark.django_db
SECRET = "hunter2-of-the-task"
KWARGS = {"to": "ann", "password": SECRET, "db": {"url": f"redis://:{SECRET}@h"}, "max_tokens": 7}


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("alice"))
    return client


@pytest.mark.parametrize(
    "kwargs",
    [KWARGS, {**KWARGS, "text": "long " * 1000}, {"auth": {"deep": [SECRET]}, "to": "ann"}],
    ids=["short", "shortened by Celery", "nested"],
)
def test_neither_the_page_nor_its_search_shows_a_secret_of_a_task(
    admin: Client, kwargs: dict[str, object]
):
    task = TaskResult.objects.create(
        task_id="t1",
        task_name="shop.mail",
        # As django_celery_results writes it: JSON of what Celery's repr() made.
        task_args=json.dumps(saferepr((1, {"token": SECRET}))),
        task_kwargs=json.dumps(saferepr(kwargs)),
        result=json.dumps({"sent": 1, "with": SECRET, "token": "other-secret"}),
        traceback=f"RuntimeError: cannot sign in with {SECRET}",
        meta=json.dumps({"children": []}),
        status="FAILURE",
    )

    address = reverse("admin:django_celery_results_taskresult_change", args=[task.pk])
    page = admin.get(address)

    shown = page.content.decode()
    assert page.status_code == 200
    assert "hunter2" not in shown
    assert "other-secret" not in shown
    assert "ann" in shown
    assert MASK in shown
    rows = reverse("admin:django_celery_results_taskresult_changelist")
    assert admin.get(rows, {"q": SECRET[:8]}).context["cl"].result_count == 0
    assert admin.get(rows, {"q": "shop.mail"}).context["cl"].result_count == 1
    assert admin.get(rows, {"task_kwargs__contains": SECRET[:8]}).status_code in (302, 400)
    assert admin.post(address, {"_save": "Save"}).status_code == 403
    task.refresh_from_db()
    assert SECRET in task.task_kwargs, "what is stored stays"
