"""The ready-made project as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "jobu_project"

    def ready(self) -> None:
        from django.core.checks import register

        from jobu_project.data_directory import check_data_directory

        register(check_data_directory)
