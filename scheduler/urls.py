"""All of jobu below a prefix: `path("jobu/", include("scheduler.urls"))`, without a namespace.

The pages at the prefix itself, the API below `api/`, the probes at `health`, `ready` and `metrics`.
With `JOBU = {"admin_site": "project"}` the pages are on the project's site, and not here.
"""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from scheduler.admin import pages  # noqa: F401 - registers them
from scheduler.admin.site import is_own, site

urlpatterns: list[URLPattern | URLResolver] = [path("", include("scheduler.api.urls"))]
if is_own:
    # Last: the site answers every other address below the prefix.
    urlpatterns.append(path("", site.urls))
