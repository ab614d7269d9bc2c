"""The ready-made project as a Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "jobu_project"

    def __init__(self, app_name: str, app_module: Any) -> None:
        from jobu_project import own_apps

        own_apps.refuse_mistakes()
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        from django.conf import settings
        from django.core.checks import register

        from jobu_project import tracing
        from jobu_project.celery import app
        from jobu_project.data_directory import check_data_directory

        # A project's __init__.py often makes a Celery app of its own. Here it is not the one.
        app.set_current()
        register(check_data_directory)
        if settings.JOBU.tracing:
            tracing.start(settings.TRACES_EXPORTER)
