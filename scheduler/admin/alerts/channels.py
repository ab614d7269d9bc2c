"""The page of channels: over which ways people are told, what went over each last, and a test."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from scheduler.admin import formatting, live
from scheduler.admin.actor import channels_of
from scheduler.admin.site import render_to_string, reverse
from scheduler.alert_states import AlertEvent, MessageState
from scheduler.labels import label_of
from scheduler.operations.alert_channels import ChannelFacts, LastDelivery
from scheduler.operations.errors import InvalidJob
from scheduler.operations.permissions import Action, may


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the channels on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    return [
        path("channels/", site.admin_view(page), name="channels"),
        path("channels/live/", site.admin_view(_live), name="channels-live"),
        path("channels/test/", site.admin_view(require_POST(_test)), name="channel-test"),
    ]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    context = {
        **site.each_context(request),
        "title": _("Channels"),
        "rows": _rows(request),
        "may_test": may(request.user, Action.CHANGE_ALERT),
        "live_url": reverse("admin:channels-live"),
        "seen_in": formatting.SCREEN_ZONE,
    }
    return TemplateResponse(request, "scheduler/channels/page.html", context)


def _live(request: HttpRequest) -> HttpResponse:
    """Answers live.js with the cells of the last messages."""
    rows = _rows(request)

    def render() -> str:
        cells = (
            (render_to_string("scheduler/channels/last.html", {"row": row}, request),)
            for row in rows
        )
        return format_html_join("", "{}", cells)

    return live.answer(request, mark=live.mark_of(rows), render=render)


def _rows(request: HttpRequest) -> list[dict[str, Any]]:
    if not may(request.user, Action.VIEW_ALERTS):
        raise PermissionDenied
    control = channels_of(request)
    now = control.clock.now().replace(second=0, microsecond=0)
    return [
        {
            "number": number,
            "name": channel.name,
            "kind": channel.kind,
            "address": channel.address,
            "is_default": channel.is_default,
            "throttle": _throttle(channel),
            **_last(channel.last, now),
        }
        for number, channel in enumerate(control.channels())
    ]


def _throttle(channel: ChannelFacts) -> list[str]:
    hour = _("%(count)s an hour") % {"count": number_format(channel.max_per_hour)}
    if not channel.min_interval_seconds:
        return [hour]
    span = formatting.span(round(channel.min_interval_seconds))
    return [hour, _("one in %(span)s") % {"span": span}]


def _last(last: LastDelivery | None, now: datetime) -> dict[str, Any]:
    if last is None:
        return {"state": "", "is_bad": False}
    if last.state != MessageState.WAITING:
        state = label_of(MessageState, last.state)
    elif last.tries:
        state = _("not sent yet, tries: %(count)s") % {"count": last.tries}
    else:
        state = _("no worker has taken it yet")
    return {
        "state": state,
        "event": label_of(AlertEvent, last.event),
        "at": formatting.instant(last.at, now),
        "error": last.error if last.state != MessageState.SENT else "",
        "is_bad": last.state != MessageState.SENT,
    }


def _test(request: HttpRequest) -> HttpResponse:
    if not may(request.user, Action.CHANGE_ALERT):
        raise PermissionDenied
    channel = request.POST.get("channel", "")
    try:
        channels_of(request).send_test(channel)
    except InvalidJob as error:
        messages.error(request, str(error))
    else:
        text = _("A worker sends a test over %(channel)s. This page says what becomes of it.")
        messages.success(request, text % {"channel": channel})
    return HttpResponseRedirect(reverse("admin:channels"))
