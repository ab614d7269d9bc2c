"""Fills the database of a site for the tests. Runs inside `manage.py shell`."""

from __future__ import annotations

from tests.browser.site import LANGUAGES, PASSWORD


def people_and_jobs() -> None:
    """Creates a user for each language. Each has separate jobs, so that tests do not interfere."""
    from django.contrib.auth import get_user_model

    from scheduler.operations.actor import Actor
    from scheduler.operations.control import Control

    control = Control(actor=Actor(name="seed"))
    for language in LANGUAGES:
        get_user_model().objects.create_superuser(f"reader-{language}", password=PASSWORD)
        control.create_job(
            name=f"{language} long",
            cron_expression="0 0 1 1 *",
            handler_name="sample",
            handler_params={"sleep_seconds": 600, "message": "takes its time"},
        )
        control.create_job(
            name=f"{language} failing",
            cron_expression="0 0 1 1 *",
            handler_name="sample",
            handler_params={"should_fail": True, "message": "no luck"},
            max_retry=0,
        )
        control.create_job(
            name=f"{language} often",
            cron_expression="*/2 * * * * *",
            handler_name="sample",
            misfire_policy="skip",
        )
        control.create_job(
            name=f"{language} daily",
            cron_expression="0 6 * * *",
            handler_name="sample",
            handler_params={"sleep_seconds": 0.5, "message": "for {slot:%Y-%m-%d}"},
        )
