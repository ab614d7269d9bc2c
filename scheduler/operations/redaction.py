"""Takes the secrets of a run's params out of what its handler says.

A handler may put a password into an error, a log line or a result. Everybody who may see the run
reads those. They are replaced when they are written: what was never stored cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from scheduler.operations.masking import MASK
from scheduler.operations.secret_names import secret_members, secrets_in_urls

# A shorter text is often an ordinary word, too, and replacing it would spoil what is said.
SHORTEST_SECRET: Final = 6
_DEEPEST: Final = 100
# What handlers/json_safe.py writes where it cuts a text. A secret may lie across it.
_CUT = re.compile(r" \.\.\. \[\d+ bytes cut\] \.\.\. ")
# A shorter part of a secret at a cut tells little.
_SHORTEST_PART: Final = 4


class Redactor:
    """Replaces the secrets of `params` wherever they stand whole. Never raises.

    Texts of at least 6 characters are replaced, not numbers and booleans, and not what is part of
    a longer word.
    """

    def __init__(self, params: object) -> None:
        # Also without the blanks around it: a key from a file ends with a line break.
        texts = {shown for text in _secrets_in(params) for shown in (text, text.strip())}
        written = {form for text in texts if len(text) >= SHORTEST_SECRET for form in _forms(text)}
        # The longest first: a secret may be a part of another one.
        self._secrets = sorted(written, key=lambda text: (-len(text), text))
        self._first_lines = [_LINE_BREAK.split(secret, 1)[0] for secret in self._secrets]

    @property
    def has_nothing_to_do(self) -> bool:
        return not self._secrets

    def text(self, text: str) -> str:
        """Returns `text` with each secret replaced."""
        for secret, first_line in zip(self._secrets, self._first_lines, strict=True):
            if first_line in text:
                text = _whole(secret).sub(lambda _found: MASK, text)
        if self._secrets and _CUT.search(text):
            text = self._around_cuts(text)
        return text

    def value(self, value: Any) -> Any:
        """Returns a copy of a JSON value with each secret in its texts replaced."""
        return self._value(value, _DEEPEST) if self._secrets else value

    def _value(self, value: Any, levels: int) -> Any:
        if not levels:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): self._value(member, levels - 1)
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [self._value(member, levels - 1) for member in value]
        return value

    def _around_cuts(self, text: str) -> str:
        """Replaces the beginning or the end of a secret of which the rest was cut off."""
        ends: list[int] = [0]
        for found in _CUT.finditer(text):
            ends += [found.start(), found.end()]
        pieces = [text[start:end] for start, end in zip(ends, [*ends[1:], len(text)], strict=True)]
        for place in range(1, len(pieces), 2):
            pieces[place - 1] = self._without_end(pieces[place - 1])
            pieces[place + 1] = self._without_start(pieces[place + 1])
        return "".join(pieces)

    def _without_end(self, piece: str) -> str:
        for secret in self._secrets:
            for length in range(min(len(secret), len(piece)), _SHORTEST_PART - 1, -1):
                if piece.endswith(secret[:length]):
                    return piece[:-length] + MASK
        return piece

    def _without_start(self, piece: str) -> str:
        for secret in self._secrets:
            for length in range(min(len(secret), len(piece)), _SHORTEST_PART - 1, -1):
                if piece.startswith(secret[-length:]):
                    return MASK + piece[length:]
        return piece


def _secrets_in(
    params: object, levels: int = _DEEPEST, *, is_secret: bool = False
) -> Iterator[str]:
    """The texts below the names of secrets, and the passwords in URLs."""
    if not levels:
        return
    if isinstance(params, str):
        yield from [params] if is_secret else []
        yield from secrets_in_urls(params)
    elif isinstance(params, Mapping):
        secrets = secret_members(params)
        for key, member in params.items():
            yield from _secrets_in(member, levels - 1, is_secret=is_secret or key in secrets)
    elif isinstance(params, list):
        for member in params:
            yield from _secrets_in(member, levels - 1, is_secret=is_secret)


def _forms(text: str) -> set[str]:
    """A text as it stands in messages: itself, in quotes as Python or JSON writes it, in a URL."""
    # SQL may have written half of a pair of surrogates, which quote() by itself refuses.
    forms = {text, repr(text)[1:-1], quote(text, safe="", errors="replace")}
    return forms | {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
# In the traceback of a group, each line of a message is indented.
_INDENTED: Final = rf"(?:{_LINE_BREAK.pattern})[ \t|]*"
# No letter of a longer word: the end of what stands for a line break, a tab or any character.
_ESCAPED: Final = r"(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})"


def _whole(secret: str) -> re.Pattern[str]:
    """Matches the secret where it is not a part of a longer word.

    Words are of ASCII here, because Korean writes its particles directly behind another word.
    """
    before = rf"(?:(?<!\w)|{_ESCAPED})" if re.match(r"\w", secret[0], re.ASCII) else ""
    after = r"(?!\w)" if re.match(r"\w", secret[-1], re.ASCII) else ""
    lines = _INDENTED.join(re.escape(line) for line in _LINE_BREAK.split(secret))
    return re.compile(before + lines + after, re.ASCII)
