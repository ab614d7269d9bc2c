"""Brings the Korean catalogue and the texts of the source into step: docs/translating.md.

    python -m tests.translations            # updates the .po from the source, and compiles the .mo
    python -m tests.translations --check    # prints what is missing; exit code 1 if anything is

Babel reads and writes the files, so that nobody needs the gettext tools.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT: Final = Path(__file__).resolve().parent.parent
PO: Final = ROOT / "scheduler" / "locale" / "ko" / "LC_MESSAGES" / "django.po"
MO: Final = PO.with_suffix(".mo")

FOLDERS: Final = ("handlers", "jobu_project", "scheduler", "templates")
# The command line speaks English.
LEFT_OUT: Final = ("scheduler/management", "jobu_project/management", "scheduler/migrations")
#: Marks the messages that are not in the source: texts of the theme and of other libraries.
BORROWED: Final = "not ours: "

# A fixed date: the same texts then give the same file.
_ANY_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
_KEYWORDS: Final = {
    **DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "_now": None,
    "translate": None,  # handlers/databases.py, which does not import Django
    "pgettext_lazy": ((1, "c"), 2),
    "ngettext_lazy": (1, 2),
}

Key = tuple[str, str | tuple[str, ...]]


def source() -> dict[Key, list[str]]:
    """Returns (context, msgid or singular and plural) -> the files that contain it."""
    found: dict[Key, list[str]] = {}
    for place, context, text in (*_extracted(), *_codes(), *_permissions()):
        places = found.setdefault((context, text), [])
        if place not in places:
            places.append(place)
    return found


def catalogue() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, locale="ko")


def keys_of(messages: Catalog) -> dict[Key, Message]:
    found: dict[Key, Message] = {}
    for message in messages:
        if message.id:
            text = message.id if isinstance(message.id, str) else tuple(message.id)
            found[message.context or "", text] = message
    return found


def merged(old: Catalog) -> Catalog:
    """Returns the source's msgids with their known translations, and the borrowed messages."""
    known = keys_of(old)
    new = Catalog(
        locale="ko", project="jobu", version="1", charset="utf-8", fuzzy=False,
        header_comment="# Korean texts of jobu. `python -m tests.translations` keeps the msgids.",
        creation_date=old.creation_date, revision_date=old.revision_date,
    )  # fmt: skip
    # Sorted by text and without places, so that a moved file changes nothing in the catalogue.
    for context, text in sorted(source(), key=lambda key: (str(key[1]), key[0])):
        before = known.get((context, text))
        new.add(
            text,
            before.string if before else None,
            context=context or None,
        )
    for (context, text), message in known.items():
        if is_borrowed(message) and (context, text) not in keys_of(new):
            new.add(
                text, message.string, auto_comments=message.auto_comments, context=context or None
            )
    return new


def is_borrowed(message: Message) -> bool:
    return any(comment.startswith(BORROWED) for comment in message.auto_comments)


def po_bytes(messages: Catalog) -> bytes:
    file = io.BytesIO()
    write_po(file, messages, width=100, include_lineno=False)
    head, gap, rest = file.getvalue().partition(b"\n\n")
    # git knows who translated what and when: the header does not repeat it.
    head = re.sub(rb'(?m)^"(?!Content|MIME|Plural|Language: ).*\\n"\n?', b"", head)
    return head.rstrip(b"\n") + gap + rest


def mo_bytes(messages: Catalog) -> bytes:
    messages.creation_date = messages.revision_date = _ANY_DAY
    file = io.BytesIO()
    write_mo(file, messages)
    return file.getvalue()


# --- what there is to say -------------------------------------------------------------------------


def _extracted() -> Iterator[tuple[str, str, str | tuple[str, ...]]]:
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")):
        place = path.relative_to(ROOT).as_posix()
        if path.suffix in (".py", ".html") and not place.startswith(LEFT_OUT):
            for context, text in texts_of(path):
                yield place, context, text


def texts_of(path: Path) -> Iterator[Key]:
    """Yields the translatable texts of a module or a template."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Django converts it to something like Python. In brackets the indentation has no meaning.
        text = f"(\n{templatize(text)}\n)"
    file = io.BytesIO(text.encode())
    for _line, message, _comments, context in extract("python", file, keywords=_KEYWORDS):
        yield context or "", message


def _codes() -> Iterator[tuple[str, str, str]]:
    """Yields the codes that people see: scheduler/labels.py translates them."""
    from scheduler import alert_states, states
    from scheduler.schedule import fields

    for place, module in (("states", states), ("alert_states", alert_states)):
        for name, codes in vars(module).items():
            if isinstance(codes, type) and issubclass(codes, StrEnum) and codes is not StrEnum:
                for code in codes:
                    yield f"scheduler/{place}.py", name, code.value
    for kind in fields.FIELDS:
        yield "scheduler/schedule/fields.py", "field", kind.name


def _permissions() -> Iterator[tuple[str, str, str]]:
    """Yields the names of the permissions: the admin's page of a group shows them."""
    from scheduler import models
    from scheduler.operations.permissions import Action

    for name in models.__all__:
        options = getattr(getattr(models, name), "_meta", None)
        for _codename, text in getattr(options, "permissions", ()):
            yield "scheduler/models/jobs.py", "permission", str(text)
    for action in Action:
        yield "scheduler/operations/permissions.py", "", action.value


def main(arguments: list[str]) -> int:
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobu_project.settings")
    django.setup()
    old = catalogue()
    new = merged(old)
    missing = [text for (_context, text), message in keys_of(new).items() if not message.string]
    for text in missing:
        print(f"not translated: {text!r}")
    if "--check" in arguments:
        return int(bool(missing) or keys_of(old).keys() != keys_of(new).keys())
    PO.write_bytes(po_bytes(new))
    MO.write_bytes(mo_bytes(new))
    print(f"{len(keys_of(new))} texts, {len(missing)} not translated")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
