"""Mail, by the settings of the project: EMAIL_BACKEND, EMAIL_HOST and so on."""

from __future__ import annotations

import smtplib
from email.utils import formatdate

from django.core import mail
from django.core.mail import EmailMessage

from scheduler.alert_settings import MailChannel, address_problem
from scheduler.alerts.channels.base import DeliveryError, Rendered, within

# An answer of 5xx is final for this message; 4xx means "later".
_FINAL = 500
_WHAT = "the mail server"


class MailSender:
    """A Sender."""

    def __init__(self, channel: MailChannel) -> None:
        self._channel = channel

    def send(self, message: Rendered, *, deadline_seconds: float) -> None:
        letter = self._letter(message)
        try:
            within(
                deadline_seconds, "the mail server", lambda: self._send(letter, deadline_seconds)
            )
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused(max(code for code, _ in error.recipients.values())) from error

    def _letter(self, message: Rendered) -> EmailMessage:
        """Raises DeliveryError where an address is none. A subject never has a second line."""
        to = [message.address] if message.address is not None else list(self._channel.to)
        for address in to:
            if problem := address_problem(address):
                raise DeliveryError(problem, permanent=True)
        return EmailMessage(
            subject=" ".join(message.subject.split()),
            body=message.text,
            from_email=self._channel.sender or None,
            to=to,
            headers={
                # The same for each try: programs of mail then show a doubled one once.
                "Message-ID": f"<{message.key}@{mail.utils.DNS_NAME.get_fqdn()}>",
                "Date": formatdate(),
                "Auto-Submitted": "auto-generated",
                "X-Auto-Response-Suppress": "All",
            },
        )

    def _send(self, letter: EmailMessage, seconds: float) -> None:
        # The limit of one step of the protocol. Backends that know none ignore it.
        connection = mail.get_connection(timeout=seconds)
        letter.connection = connection
        try:
            letter.send()
        finally:
            connection.close()


def _refused(code: int) -> DeliveryError:
    return DeliveryError(f"the mail server answers {code}", permanent=code >= _FINAL)
