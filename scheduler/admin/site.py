"""The admin site on which jobu's pages are: its own, or the project's (`JOBU["admin_site"]`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import django.contrib.admin
import django.template.loader
import django.urls
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from scheduler.admin import personal, sign_in, theme
from scheduler.admin.unfold_compat import ThemeSite
from scheduler.conf import SITE_NAME, current

View = Callable[..., HttpResponseBase]


class JobuSite(ThemeSite):
    """jobu's own site: the full theme, people's time zone and language, its own sign-in.

    The project's middleware, templates and admin are not needed for it, and stay as they are.
    """

    settings_name = "JOBU_UNFOLD"

    def admin_view(self, view: View, cacheable: bool = False) -> Any:
        inner: View = super().admin_view(view, cacheable)

        @wraps(inner)
        def guarded(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
            request.current_app = self.name
            with personal.preferred(request):
                return self._finished(request, inner(request, *args, **options))

        # The inner view asks for the sign-in of this site, not for that of LoginRequiredMiddleware.
        return login_not_required(guarded)

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    @method_decorator(csrf_protect)  # without a token nothing is tried, and nothing counted
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        request.current_app = self.name
        if request.method == "POST" and (refusal := sign_in.refuse_too_early(request)):
            return refusal
        if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
            # The theme's page has no field for it, and LOGIN_REDIRECT_URL is the project's.
            given: Any = request.GET.copy()
            given[REDIRECT_FIELD_NAME] = reverse("admin:index")
            request.GET = given
        response = self._finished(request, super().login(request, extra_context))
        sign_in.forget_if_signed_in(request)
        return response

    def get_urls(self) -> list[URLPattern | URLResolver]:
        script = login_not_required(theme.script)
        return [
            path("theme/<path:name>", script, name="theme-script"),
            path("set-language/", self.admin_view(personal.set_language), name="set-language"),
            *super().get_urls(),
        ]

    def media_of(self, media: Media) -> Media:
        """Returns the scripts and styles of a page, those of the theme instead of Django's."""
        return theme.with_scripts_of_the_theme(media)

    def _finished(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        theme.use_engine(response)
        # Here, because the time zone and the language hold until the view has returned.
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return theme.allow_scripts_of_the_theme(request, response)


# `django.contrib.admin.site` is what the theme or the project has made of it by now.
is_own = current().admin_site == "own"
site: Any = JobuSite(SITE_NAME) if is_own else django.contrib.admin.site


def register(*models: Any) -> Callable[[Any], Any]:
    """As `django.contrib.admin.register`, for the site with jobu's pages."""
    return django.contrib.admin.register(*models, site=site)


def reverse(name: str, **options: Any) -> str:
    """As `django.urls.reverse`: `admin:` is the site with jobu's pages."""
    return django.urls.reverse(name, current_app=SITE_NAME, **options)


def job_url(job_id: int) -> str:
    """Returns the page with which a job begins: its overview."""
    return reverse("admin:scheduler_cronjob_overview", args=[job_id])


def worker_url(name: str) -> str:
    """Returns the page of a worker, by the name of any of its processes."""
    return reverse("admin:scheduler_schedulerprocess_worker", query={"name": name})


def render_to_string(name: str, context: dict[str, Any], request: HttpRequest | None = None) -> str:
    if is_own:
        return theme.engine().get_template(name).render(context, request)
    return django.template.loader.render_to_string(name, context, request)


def render(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    return HttpResponse(render_to_string(name, context, request))
