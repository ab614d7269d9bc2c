"""URLs of the project. The front page redirects to the admin."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from scheduler.admin import pages, personal

admin.autodiscover()
pages.furnish(admin.site)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("i18n/setlang/", personal.set_language, name="set_language"),
    path("favicon.ico", RedirectView.as_view(url=static("scheduler/favicon.svg"))),
    # A short address for people who copy a task id from Flower.
    path(
        "admin/task/<str:task>/",
        RedirectView.as_view(pattern_name="admin:scheduler_jobexecution_task"),
    ),
    path("admin/", admin.site.urls),
    path("crons", RedirectView.as_view(pattern_name="admin:scheduler_cronjob_changelist")),
    path("jobs", RedirectView.as_view(pattern_name="admin:scheduler_jobexecution_changelist")),
    path("", include("scheduler.api.urls")),
]
