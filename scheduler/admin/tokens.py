"""API tokens: people create and revoke theirs, and see a key once. Superusers see all tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.crypto import constant_time_compare
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.actions import ActionPagesMixin
from scheduler.admin.actor import tokens_of
from scheduler.admin.listing import LimitedLookupsAdmin, TimedChangeList
from scheduler.admin.site import register, reverse
from scheduler.admin.unfold_compat import (
    ActionVariant,
    AnyModelForm,
    CheckboxSelectMultiple,
    name_date_and_time,
    page_action,
)
from scheduler.admin.verbs import Done, Verb
from scheduler.models import ApiToken
from scheduler.operations.control import Control
from scheduler.operations.keys import TokenControl, hash_of
from scheduler.operations.validation import instant_problem
from scheduler.states import TargetKind

_KEY_COOKIE: Final = "jobu_new_key"
# The browser follows the redirect at once.
_KEY_COOKIE_SECONDS: Final = 60

_SCOPE_WORDS: Final = {
    "read": _("read: look at jobs, executions and processes"),
    "operate": _("operate: run, pause, cancel, retry, backfill, send events"),
    "write": _("write: create, change and delete jobs, delete executions"),
}


def _revoke(control: Control, token: ApiToken, _answers: Mapping[str, Any]) -> Done:
    control.of(TokenControl).revoke(token)
    return Done(message=gettext("%(token)s is revoked.") % {"token": token})


REVOKE: Final = Verb(
    name="revoke",
    title=_("Revoke"),
    question=_("Whatever uses it is refused from now on. This cannot be undone."),
    act=_revoke,
    is_dangerous=True,
)


class TokenForm(AnyModelForm):
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=[(scope, _SCOPE_WORDS[scope]) for scope in ApiToken.SCOPES],
        widget=CheckboxSelectMultiple(),
        initial=["read"],
        help_text=_("Never more than the user may do."),
    )

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "expires_at")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if problem := instant_problem(expires_at):
            raise forms.ValidationError(problem)
        if expires_at is not None and expires_at <= Control().clock.now():
            raise forms.ValidationError(gettext("must be in the future"))
        return expires_at


@register(ApiToken)
class ApiTokenAdmin(ActionPagesMixin, LimitedLookupsAdmin):
    target_kind = TargetKind.TOKEN
    form = TokenForm
    list_display = ("name", "begins_with", "user", "scope_list", "state", "used", "expires")
    list_display_links = ("name",)
    list_select_related = ("user",)
    ordering = ("name", "id")
    search_fields = ("name", "user__username", "prefix")
    actions = ("revoke_many",)
    verbs_for_many = (REVOKE,)
    actions_detail = ("revoke",)
    made_template = "scheduler/token_made.html"

    # --- permissions -----------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        rows: QuerySet[ApiToken] = super().get_queryset(request)
        user: Any = request.user
        return rows if user.is_superuser else rows.filter(user_id=user.pk)

    # Everybody who is signed in may create tokens: a token cannot do more than its user.
    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True

    def has_control_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Returns True: everybody may revoke the tokens that `get_queryset` shows them."""
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # programs that use the token would not notice the change

    # --- the pages -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[TimedChangeList]:
        return TimedChangeList

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        if obj is not None:
            return (
                "name", "begins_with", "user", "scope_list", "state", "created", "used", "expires",
                "revoked",
            )  # fmt: skip
        user: Any = request.user
        mine = ("name", "scopes", "expires_at")
        return ("name", "user", "scopes", "expires_at") if user.is_superuser else mine

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return self.get_fields(request, obj) if obj is not None else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, "scopes": ["read"]}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Shows one save button only: the others would skip the page that shows the key."""
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        context = {**(extra_context or {}), **one}
        return super().changeform_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        user: Any = request.user
        if not user.is_superuser:
            obj.user = user
        made, key = tokens_of(request).create(
            obj.user, obj.name, obj.scopes, expires_at=obj.expires_at
        )
        obj.pk, obj.key_once = made.pk, key  # type: ignore[attr-defined]
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        tokens_of(request).delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            tokens_of(request).delete(token)

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Leads to the page that shows the key: a reload of that page makes no second token.

        The browser brings the key along in a cookie for that page, so the server stores no key.
        """
        address = reverse("admin:scheduler_apitoken_made", args=[obj.pk])
        response = HttpResponseRedirect(address)
        response.set_cookie(
            _KEY_COOKIE,
            obj.key_once,  # type: ignore[attr-defined]
            max_age=_KEY_COOKIE_SECONDS,
            path=address,
            secure=request.is_secure() or settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Strict",
        )
        return response

    def get_urls(self) -> list[URLPattern]:
        view: Any = self.admin_site.admin_view(self.made_view)
        made: URLPattern = path("<int:token_id>/made/", view, name="scheduler_apitoken_made")
        return [made, *super().get_urls()]

    def made_view(self, request: HttpRequest, token_id: int) -> HttpResponse:
        """Shows the key of a new token, once."""
        token = self.get_object(request, str(token_id))
        if token is None:
            raise Http404
        key = request.COOKIES.get(_KEY_COOKIE, "")
        if not constant_time_compare(hash_of(key), token.key_hash):
            messages.warning(
                request,
                gettext(
                    "Its key was shown once and is kept nowhere. If you have not copied it, revoke "
                    "this token and make another one."
                ),
            )
            return HttpResponseRedirect(self._page_of(token))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("The token is made"),
            "opts": self.opts,
            "media": forms.Media(js=["scheduler/copy.js"]),
            "token": token,
            "key": key,
            "list_url": reverse("admin:scheduler_apitoken_changelist"),
            "address": request.build_absolute_uri("/api/me"),
        }
        request.current_app = self.admin_site.name
        response = TemplateResponse(request, self.made_template, context)
        response.delete_cookie(_KEY_COOKIE, path=request.path, samesite="Strict")
        return response

    # --- columns ---------------------------------------------------------------------------------

    @admin.display(description=_("begins with"))
    def begins_with(self, token: ApiToken) -> SafeString:
        return formatting.code(f"{token.prefix}...")

    @admin.display(description=_("scopes"))
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description=_("state"))
    def state(self, token: ApiToken) -> SafeString:
        if token.revoked_at is not None:
            return formatting.badge(gettext("revoked"), "bad")
        if token.expires_at is not None and token.expires_at <= _seen_at(token):
            return formatting.badge(gettext("expired"), "warn")
        return formatting.badge(gettext("valid"), "good")

    @admin.display(description=_("last used"))
    def used(self, token: ApiToken) -> SafeString | str:
        return formatting.instant(token.last_used_at, _seen_at(token))

    @admin.display(description=_("expires"))
    def expires(self, token: ApiToken) -> SafeString | str:
        return formatting.instant(token.expires_at, _seen_at(token))

    @admin.display(description=_("created"))
    def created(self, token: ApiToken) -> SafeString | str:
        return formatting.instant(token.created_at, _seen_at(token))

    @admin.display(description=_("revoked"))
    def revoked(self, token: ApiToken) -> SafeString | str:
        return formatting.instant(token.revoked_at, _seen_at(token))

    # --- verbs -----------------------------------------------------------------------------------

    @page_action(
        description=_("Revoke"), url_path="revoke", permissions=["control"], icon="block",
        variant=ActionVariant.DANGER,
    )  # fmt: skip
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, REVOKE)

    @admin.action(description=_("Revoke"), permissions=["control"])
    def revoke_many(
        self, request: HttpRequest, queryset: QuerySet[ApiToken]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, REVOKE)


def _seen_at(token: ApiToken) -> Any:
    """Returns the instant of the page. The list sets it on its rows; a single token lacks it."""
    if not hasattr(token, "seen_at"):
        token.seen_at = Control().clock.now()  # type: ignore[attr-defined]
    return token.seen_at  # type: ignore[attr-defined]
