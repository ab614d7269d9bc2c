"""Fixtures of the tests of the backend for Django's tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib import admin

SetApps = Callable[[Sequence[str]], None]


@pytest.fixture
def set_apps(monkeypatch: pytest.MonkeyPatch, settings: Any) -> SetApps:
    """Sets INSTALLED_APPS for the test."""

    def change(apps: Sequence[str]) -> None:
        # With each new list of apps the theme makes another admin site, without any pages.
        for holder in (admin, admin.sites):
            monkeypatch.setattr(holder, "site", holder.site)
        settings.INSTALLED_APPS = list(apps)

    return change
