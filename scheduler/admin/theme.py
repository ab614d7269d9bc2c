"""Templates and scripts of the theme for jobu's own site, whatever the project installs.

A project may have the theme's templates behind those of Django's admin, so that its own admin looks
as before. jobu's site has a template engine of its own with another order. The theme also has
scripts that replace scripts of Django under the same name. jobu's site serves them itself.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import django.contrib.admin
import django.contrib.auth
from django import forms
from django.http import FileResponse, Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist
from django.template.backends.django import DjangoTemplates
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from scheduler.admin.unfold_compat import THEME_FOLDERS
from scheduler.conf import SITE_NAME

try:
    from django.utils.csp import CSP  # type: ignore[import-untyped]
    from django.views.decorators.csp import (  # type: ignore[import-untyped]
        csp_override,
        csp_report_only_override,
    )
except ImportError:  # before Django 6.0
    CSP = None

_SCHEDULER: Final = Path(__file__).resolve().parent.parent


@cache
def engine() -> DjangoTemplates:
    django_folders = [
        Path(each.__path__[0]) for each in (django.contrib.admin, django.contrib.auth)
    ]
    folders = [_SCHEDULER / "admin", _SCHEDULER, *THEME_FOLDERS, *django_folders]
    return DjangoTemplates(
        {
            "NAME": "jobu",
            "DIRS": [folder / "templates" for folder in folders],
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    )


def use_engine(response: Any) -> None:
    """Makes a response that is not rendered yet use our engine."""
    if not isinstance(response, SimpleTemplateResponse) or response.is_rendered:
        return
    names = response.template_name
    for name in [names] if isinstance(names, str) else names if isinstance(names, list) else []:
        try:
            response.template_name = engine().get_template(name)
            return
        except TemplateDoesNotExist:
            continue


@cache
def scripts() -> dict[str, Path]:
    """Returns the scripts of the theme that have the name of one of Django's: name -> file."""
    root = THEME_FOLDERS[0] / "static"
    return {path.relative_to(root).as_posix(): path for path in root.glob("admin/js/**/*.js")}


def with_scripts_of_the_theme(media: forms.Media) -> forms.Media:
    def address(script: Any) -> Any:
        if script not in scripts():
            return script
        return reverse("admin:theme-script", args=[script], current_app=SITE_NAME)

    whole: Any = media
    return forms.Media(css=whole._css, js=[address(script) for script in whole._js])


@require_safe
def script(request: HttpRequest, name: str) -> FileResponse:
    if name not in scripts():
        raise Http404
    return FileResponse(
        scripts()[name].open("rb"),
        content_type="text/javascript; charset=utf-8",
        headers={"Cache-Control": "max-age=3600"},
    )


def allow_scripts_of_the_theme(request: HttpRequest, response: Any) -> HttpResponseBase:
    """Lets the browser run them where the project's policy (Django 6.0) allows its own alone.

    Alpine.js evaluates attributes of the page.
    """
    if CSP is None:
        plain: HttpResponseBase = response
        return plain
    policy = {
        "default-src": [CSP.SELF],
        "script-src": [CSP.SELF, CSP.UNSAFE_EVAL, CSP.UNSAFE_INLINE],
        "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
        "img-src": [CSP.SELF, "data:"],
        "frame-ancestors": [CSP.NONE],
    }
    answer = csp_report_only_override({})(csp_override(policy)(lambda _request: response))
    found: HttpResponseBase = answer(request)
    return found
