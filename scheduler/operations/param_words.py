"""What is wrong with a handler's name or its params, in words of the reader's language."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from handlers import HandlerNotFoundError, InvalidParamsError
from handlers.errors import ParamError
from handlers.params import UnknownParam


def unknown_param(param: UnknownParam) -> str:
    name = {"name": repr(param.name)}
    if param.is_kept:
        text = _("The handler has no parameter %(name)s") % name
    else:
        text = _("The handler has no parameter %(name)s and ignores it") % name
    return text + did_you_mean(param.hint)


def did_you_mean(hint: str | None) -> str:
    return _(" (did you mean %(name)s?)") % {"name": repr(hint)} if hint else ""


def no_handler(error: HandlerNotFoundError) -> str:
    text = _("Handler not found: %(name)s") % {"name": error.name}
    if error.reason:
        return f"{text}: {_(error.reason)}"
    for module, cause in error.broken_modules.items():
        text += _("; %(module)s cannot be imported (%(error)s), the log says why") % {
            "module": module, "error": cause,
        }  # fmt: skip
    return text + did_you_mean(error.hint)


def bad_params(error: InvalidParamsError) -> str:
    """Returns what is wrong with params, place by place."""
    return _("Invalid params: %(problems)s") % {"problems": "; ".join(shown(error))}


def shown(error: InvalidParamsError) -> list[str]:
    found = [
        f"{each.loc}: {bad_param(each)}" if each.loc else bad_param(each)
        for each in error.errors[: error.SHOWN]
    ]
    if len(error.errors) > error.SHOWN:
        found.append(_("and %(count)s more") % {"count": len(error.errors) - error.SHOWN})
    return found


_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def bad_param(error: ParamError) -> str:
    """Returns the message of one error, translated.

    Numbers are facts: the catalogue has {number} in their place. A message of a handler's own model
    that the catalogue does not know stays as it is.
    """
    numbers = iter(_NUMBER.findall(error.message))
    pattern = _NUMBER.sub("{number}", error.message)
    known = _(pattern) if pattern else ""
    text = re.sub(r"\{number\}", lambda _match: next(numbers, ""), known)
    return text + did_you_mean(error.hint)
