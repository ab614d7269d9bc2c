"""URLs of the project. The front page redirects to the admin."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from jobu_project import preferences
from scheduler.admin.dashboard import views

admin.autodiscover()
admin.site.index_template = "scheduler/dashboard/index.html"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("i18n/setlang/", preferences.set_language, name="set_language"),
    path("favicon.ico", RedirectView.as_view(url=static("scheduler/favicon.svg"))),
    path("admin/dashboard/now", admin.site.admin_view(views.now_part), name="dashboard-now"),
    path(
        "admin/dashboard/charts",
        admin.site.admin_view(views.charts_part),
        name="dashboard-charts",
    ),
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
