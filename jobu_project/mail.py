"""The mail server of the ready-made project, from one URL: smtp+tls://user:password@host:587."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from scheduler.conf import AlertSettings

#: Scheme -> (STARTTLS, TLS from the beginning, port).
_SCHEMES: Final = {
    "smtp": (False, False, 25),
    "smtp+tls": (True, False, 587),
    "smtps": (False, True, 465),
}
TIMEOUT_SECONDS: Final = 10


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """Django's EMAIL_* settings."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    use_tls: bool
    use_ssl: bool


def known_mail_url(url: str) -> str:
    """Returns `url`. ValueError without the URL in it: it may hold a password."""
    server_of(url)
    return url


def server_of(url: str) -> MailServer:
    """Returns the server of a URL; of an empty one, what Django has by default."""
    wrong = ValueError(
        "must be like smtp+tls://user:password@mail.example.com:587, with one of"
        f" {', '.join(f'{name}://' for name in _SCHEMES)}"
    )
    try:
        parts = urlsplit(url or "smtp://localhost")
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.path.strip("/"):
        raise wrong
    use_tls, use_ssl, usual_port = _SCHEMES[parts.scheme]
    return MailServer(
        host=parts.hostname,
        port=port or usual_port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_tls=use_tls,
        use_ssl=use_ssl,
    )


def refuse_mail_without_server(alerts: AlertSettings, url: str) -> None:
    """Raises ValueError where a channel sends mail and no server is named."""
    mails = [name for name, each in alerts.channels.items() if each.kind == "mail"]
    if mails and not url:
        raise ValueError(f"alerts.channels.{mails[0]}: is of kind mail and needs mail_url")
