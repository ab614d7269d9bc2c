"""Slows down who tries passwords at the admin's sign-in (scheduler/operations/sign_ins.py).

jobu's own site does so by itself. On the project's site the middleware does it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _

from scheduler.conf import current
from scheduler.operations.sign_ins import SignIns

_LONGEST_NAME = 150


@receiver(user_logged_in)
def _note(request: HttpRequest | None = None, **_facts: Any) -> None:
    # Not request.user: somebody who is signed in already may try the passwords of others.
    if request is not None:
        request.has_just_signed_in = True  # type: ignore[attr-defined]


def refuse_too_early(request: HttpRequest) -> HttpResponse | None:
    """Counts the attempt, before its password is checked. Returns 429 if it comes too early."""
    seconds = SignIns().begin(name_of(request), address_of(request))
    if not seconds:
        return None
    text = _("Too many failed sign-ins. Wait %(seconds)s seconds, then try again.")
    return HttpResponse(
        text % {"seconds": seconds},
        status=429,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": str(seconds), "Cache-Control": "no-store"},
    )


def forget_if_signed_in(request: HttpRequest) -> None:
    if getattr(request, "has_just_signed_in", False):
        SignIns().succeeded(name_of(request), address_of(request))


class SlowSignIn:
    """Answers 429 to a sign-in after too many failures of one name from one address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        forget_if_signed_in(request)
        return response

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        """Runs after the check of the CSRF token: without one nothing is tried."""
        if request.method != "POST" or request.path != reverse("admin:login"):
            return None
        return refuse_too_early(request)


def name_of(request: HttpRequest) -> str:
    """The name as the sign-in reads it: " alice" is alice there, too.

    Of a user who exists, the name as it is stored: to MySQL and MariaDB also `álice` is alice.
    """
    name = str(UsernameField().to_python(request.POST.get("username", "")))[:_LONGEST_NAME]
    if "\0" in name:  # the form refuses it, and PostgreSQL has no such text
        return name
    users = get_user_model()
    stored = users._default_manager.filter(**{users.USERNAME_FIELD: name})
    return stored.values_list(users.USERNAME_FIELD, flat=True).first() or name


def address_of(request: HttpRequest) -> str:
    """The address of the client: the one that connects, or what a trusted proxy says of it.

    `trusted_proxies` names those; in the ready-made project they are those of gunicorn. Of an IPv6
    address the network counts, because one person has a whole one.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    trusted = current().trusted_proxies
    forwarded = request.headers.get("X-Forwarded-For", "")
    # No address at all: a proxy on this host that connects through a Unix socket.
    if forwarded and (address in {"", *trusted} or "*" in trusted):
        hops = [_without_port(hop.strip()) for hop in forwarded.split(",")]
        # Each proxy adds where its request came from. With two in a row, the last one of the header
        # is the first proxy, which all people have in common.
        while len(hops) > 1 and hops[-1] in trusted:
            hops.pop()
        address = hops[-1]
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _without_port(address: str) -> str:
    """Some proxies write 192.0.2.7:50123 or [2001:db8::1]:50123, another port for each request."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
