"""The list of alerts, and the page of one: what is wrong, who was told of it, what may be done."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.actions import ActionPagesMixin
from scheduler.admin.alerts.actions import ACKNOWLEDGE, CLOSE, SNOOZE, UNSNOOZE
from scheduler.admin.filters import NamedFilter
from scheduler.admin.listing import LimitedLookupsAdmin, TimedChangeList
from scheduler.admin.site import job_url, register, reverse
from scheduler.admin.unfold_compat import ChoicesDropdownFilter, DropdownFilter, page_action
from scheduler.alert_states import AlertEvent, AlertKind, AlertState, MessageState
from scheduler.labels import label_of
from scheduler.models import Alert
from scheduler.operations.permissions import Action, may
from scheduler.states import TargetKind
from scheduler.store import alerts

_MESSAGES_SHOWN = 200
_MEANINGS = {AlertState.OPEN: "bad", AlertState.CLOSED: "calm"}
# The verbs that change something in a state. None does in a closed one.
_USEFUL = {
    AlertState.OPEN: {"acknowledge", "snooze", "close"},
    AlertState.ACKNOWLEDGED: {"snooze", "close"},
    AlertState.SNOOZED: {"acknowledge", "unsnooze", "close"},
}


class OwnerFilter(NamedFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        rows = Alert.objects.filter(alerts.IS_OPEN).exclude(owner="").order_by("owner")
        return [(name, name) for name in rows.values_list("owner", flat=True).distinct()[:500]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(owner=self.value()) if self.value() else queryset


class OpenFilter(DropdownFilter):
    """Filters by whether an alert is over. Somebody may work on an open one, or have snoozed it."""

    title = _("over")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("not over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(alerts.IS_OPEN) if self.value() == "yes" else queryset


@register(Alert)
class AlertAdmin(ActionPagesMixin, LimitedLookupsAdmin):
    target_kind = TargetKind.ALERT
    list_display = ("number", "state_badge", "kind_words", "subject", "times", "since", "owner")
    list_filter = (
        ("state", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter), OwnerFilter, OpenFilter,
    )  # fmt: skip
    allowed_lookups = frozenset({"state__exact", "kind__exact", "owner", "open", "job_id__exact"})
    list_filter_submit = True
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("job_name",)
    actions = ("acknowledge_many", "snooze_many", "unsnooze_many", "close_many")
    verbs_for_many = (ACKNOWLEDGE, SNOOZE, UNSNOOZE, CLOSE)
    actions_detail = ("acknowledge", "snooze", "unsnooze", "close")
    fields = (
        "state_badge", "kind_words", "subject", "run_link", "times", "since", "closed", "owner",
        "handled", "facts_block", "told",
    )  # fmt: skip
    readonly_fields = fields

    # --- permissions -----------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_ALERTS)

    def has_control_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.CHANGE_ALERT)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- the list and the page -------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[TimedChangeList]:
        return TimedChangeList

    @admin.display(description=_("number"))
    def number(self, alert: Alert) -> str:
        return f"#{alert.pk}"

    @admin.display(description=_("state"))
    def state_badge(self, alert: Alert) -> SafeString:
        meaning = _MEANINGS.get(AlertState(alert.state), "busy")
        return formatting.badge(label_of(AlertState, alert.state), meaning)

    @admin.display(description=_("kind"))
    def kind_words(self, alert: Alert) -> str:
        return label_of(AlertKind, alert.kind)

    @admin.display(description=_("about"))
    def subject(self, alert: Alert) -> SafeString | str:
        if alert.job_id is None:
            return alert.queue or alert.subject_key
        url = job_url(alert.job_id)
        return formatting.link(url, alert.job_name)

    @admin.display(description=_("last run"))
    def run_link(self, alert: Alert) -> SafeString | str:
        if alert.last_execution_id is None:
            return "-"
        url = reverse("admin:scheduler_jobexecution_change", args=[alert.last_execution_id])
        return formatting.link(url, f"#{alert.last_execution_id}")

    @admin.display(description=_("how often"))
    def times(self, alert: Alert) -> int:
        return alert.count

    @admin.display(description=_("since"))
    def since(self, alert: Alert) -> SafeString | str:
        return formatting.instant(alert.opened_at, getattr(alert, "seen_at", None))

    @admin.display(description=_("closed"))
    def closed(self, alert: Alert) -> SafeString | str:
        return formatting.instant(alert.closed_at) if alert.closed_at else "-"

    @admin.display(description=_("by whom"))
    def handled(self, alert: Alert) -> str:
        names = (alert.acknowledged_by, alert.snoozed_by, alert.closed_by)
        return ", ".join(dict.fromkeys(name for name in names if name)) or "-"

    @admin.display(description=_("details"))
    def facts_block(self, alert: Alert) -> SafeString:
        return formatting.block(formatting.as_json(alert.facts))

    @admin.display(description=_("who was told"))
    def told(self, alert: Alert) -> SafeString | str:
        rows = [
            (
                label_of(AlertEvent, each.event),
                each.recipient,
                each.channel,
                label_of(MessageState, each.state),
                formatting.instant(each.sent_at) if each.sent_at else "",
                each.error,
            )
            for each in alerts.messages_of(alert.pk)[:_MESSAGES_SHOWN]
        ]
        if not rows:
            return gettext("nobody")
        lines = format_html_join(
            "", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows
        )
        return format_html("<table class='w-full'>{}</table>", lines)

    # --- verbs -----------------------------------------------------------------------------------

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Returns the verbs that are useful in the alert's state."""
        alert = self.get_object(request, unquote(str(object_id)))
        useful = _USEFUL.get(AlertState(alert.state), set()) if alert is not None else set()
        found = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [action for action in found if action.path in useful]

    @page_action(description=_("Acknowledge"), url_path="acknowledge", permissions=["control"])
    def acknowledge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, ACKNOWLEDGE)

    @page_action(description=_("Snooze"), url_path="snooze", permissions=["control"])
    def snooze(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, SNOOZE)

    @page_action(description=_("End the snooze"), url_path="unsnooze", permissions=["control"])
    def unsnooze(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, UNSNOOZE)

    @page_action(description=_("Close"), url_path="close", permissions=["control"])
    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, CLOSE)

    @admin.action(description=_("Acknowledge"), permissions=["control"])
    def acknowledge_many(
        self, request: HttpRequest, queryset: QuerySet[Alert]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, ACKNOWLEDGE)

    @admin.action(description=_("Snooze"), permissions=["control"])
    def snooze_many(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse | None:
        return self.ask_many(request, queryset, SNOOZE)

    @admin.action(description=_("End the snooze"), permissions=["control"])
    def unsnooze_many(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse | None:
        return self.ask_many(request, queryset, UNSNOOZE)

    @admin.action(description=_("Close"), permissions=["control"])
    def close_many(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse | None:
        return self.ask_many(request, queryset, CLOSE)
