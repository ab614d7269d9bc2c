"""`:name` parameters for every engine. Literals, comments, casts and slices stay as they are.

`compile_statement` reads the SQL text once per dialect and remembers the answer. The rule: a colon
followed by a letter or an underscore starts a parameter, unless it is in a literal, a quoted name
or a comment, or directly after a colon, a word, `)` or `]` (`::type`, `a[lo:hi]`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from dbpools.errors import did_you_mean


@dataclass(frozen=True, eq=False)
class Dialect:
    """How one engine writes SQL: where a colon is no parameter, and how it marks a parameter."""

    name: str
    opaque: tuple[str, ...]
    """Patterns of text without parameters: literals, quoted names, comments."""
    style: str
    """`qmark` (?), `numeric` ($1) or `pyformat` (%(name)s)."""


_PLAIN_LITERAL = r"'(?:[^']|'')*(?:'|\Z)"
_BACKSLASH_LITERAL = r"'(?:[^'\\]|\\.|'')*(?:'|\Z)"
_QUOTED_NAME = r'"(?:[^"]|"")*(?:"|\Z)'
_BACKTICKED_NAME = r"`(?:[^`]|``)*(?:`|\Z)"
_LINE_COMMENT = r"--[^\n]*"
_BLOCK_COMMENT = r"/\*.*?(?:\*/|\Z)"
# PostgreSQL nests block comments. This pattern follows three levels; people use no more.
_NESTED_COMMENT = (
    r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*.*?\*/)*\*/)*(?:\*/|\Z)"
)

SQLITE = Dialect(
    name="sqlite",
    opaque=(
        _PLAIN_LITERAL,
        _QUOTED_NAME,
        _BACKTICKED_NAME,
        r"\[[^\]]*(?:\]|\Z)",
        _LINE_COMMENT,
        _BLOCK_COMMENT,
    ),
    style="qmark",
)
POSTGRES = Dialect(
    name="postgres",
    opaque=(
        r"\b[eE]" + _BACKSLASH_LITERAL,
        _PLAIN_LITERAL,
        _QUOTED_NAME,
        r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)",
        _LINE_COMMENT,
        _NESTED_COMMENT,
    ),
    style="numeric",
)
MYSQL = Dialect(
    name="mysql",
    opaque=(
        _BACKSLASH_LITERAL,
        r'"(?:[^"\\]|\\.|"")*(?:"|\Z)',
        _BACKTICKED_NAME,
        r"--(?=\s|\Z)[^\n]*",  # without the blank, MySQL reads two minus signs
        r"#[^\n]*",
        _BLOCK_COMMENT,
    ),
    style="pyformat",
)
DIALECTS: Mapping[str, Dialect] = {each.name: each for each in (SQLITE, POSTGRES, MYSQL)}


ROW_VERBS = ("INSERT", "UPDATE", "DELETE", "REPLACE")
"""The statements that change rows, and whose rows are counted."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text as a driver takes it, and the places of its parameters."""

    sql: str
    names: tuple[str, ...]
    """One name per marker for qmark; each name once for numeric and pyformat."""
    control: str
    """BEGIN, COMMIT and similar if the text is such a command, else an empty string."""
    words: frozenset[str]
    """RETURNING and WITH if they are words of the statement itself, not of a literal or comment."""
    verb: str
    """The first word, upper case."""
    shape: str
    """The text without comments and without what is in quotes; see `_shape_of`."""
    core: str
    """`sql` up to its last significant character: without the final `;` and comments behind it."""
    is_several: bool
    """Whether a second statement follows behind a `;`."""
    title: str
    """The beginning of the text, on one line. The SQL log shows it if there is no name."""

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns the values in marker order. LookupError names missing and unknown parameters."""
        try:
            found = [values[name] for name in self.names]
        except KeyError:
            found = []
        distinct = set(self.names)
        if len(values) != len(distinct) or len(found) != len(self.names):
            missing = sorted(distinct - set(values))
            unknown = sorted(set(values) - distinct)
            raise LookupError(_complaint(missing, unknown, distinct))
        return found


def _complaint(missing: list[str], unknown: list[str], names: set[str]) -> str:
    parts = []
    if missing:
        parts.append(f"no value for {', '.join(':' + name for name in missing)}")
    parts += [f"{name!r} is not a parameter{did_you_mean(name, names)}" for name in unknown]
    if unknown and not names:
        parts.append("the statement has none")
    return "; ".join(parts)


@lru_cache(maxsize=2048)
def compile_statement(sql: str, dialect: Dialect) -> Statement:
    """Returns the statement in the parameter style of the engine. Pure, and cached by text."""
    names: list[str] = []
    numbers: dict[str, int] = {}
    pieces: list[str] = []
    shape: list[str] = []
    core_length, core_end = 0, ""
    for kind, text in _tokens(sql, dialect):
        if kind is _Kind.PARAMETER:
            if dialect.style == "qmark" or text not in numbers:
                names.append(text)
            number = numbers.setdefault(text, len(names))
            pieces.append(_marker(dialect.style, text, number))
        else:
            pieces.append(text)
        shape.append(_shape_of(kind, text))
        if shape[-1].strip(_ENDING):
            core_length = len(pieces)
            core_end = text.rstrip(_ENDING) if kind is _Kind.BARE else pieces[-1]
    core = [*pieces[: core_length - 1], core_end] if core_length else []
    if names and dialect.style == "pyformat":
        # asyncmy runs `sql % parameters`, so every other percent sign is doubled.
        pieces, core = _doubled(pieces), _doubled(core)
    bare = "".join(shape)
    words = re.findall(r"\w+", bare.upper())
    return Statement(
        sql="".join(pieces),
        names=tuple(names),
        control=_control_word(words),
        words=frozenset(words) & {"RETURNING", "WITH"},
        verb=words[0] if words else "",
        shape=bare,
        core="".join(core),
        is_several=_has_several(bare, words),
        title=title_of(sql),
    )


class _Kind(Enum):
    BARE = "SQL that is neither in quotes nor a comment"
    COMMENT = "a comment"
    LITERAL = "a literal"
    NAME = "a quoted name"
    PARAMETER = "the name of a parameter"


def _tokens(sql: str, dialect: Dialect) -> Iterator[tuple[_Kind, str]]:
    end = 0
    for match in _pattern(dialect).finditer(sql):
        if match.start() > end:
            yield _Kind.BARE, sql[end : match.start()]
        end = match.end()
        if match["parameter"] is not None:
            yield _Kind.PARAMETER, match["parameter"]
        elif match[0].startswith(("--", "#", "/*")):
            yield _Kind.COMMENT, match[0]
        elif match[0].startswith(('"', "`", "[")):
            yield _Kind.NAME, match[0]
        else:
            yield _Kind.LITERAL, match[0]
    if end < len(sql):
        yield _Kind.BARE, sql[end:]


def _shape_of(kind: _Kind, text: str) -> str:
    """What stands for a piece of the text: a quoted name stays a name, a literal a literal."""
    match kind:
        case _Kind.BARE:
            return text
        case _Kind.COMMENT:
            # MySQL runs what is in /*! */.
            return " /*! " if text.startswith(("/*!", "/*M!")) else " "
        case _Kind.NAME:
            return "quoted$"
        case _Kind.LITERAL:
            return " '' "
        case _Kind.PARAMETER:
            return " ? "


# These hold statements, each with its semicolon.
_COMPOUND = {"BEGIN", "DECLARE", "IF", "WHILE", "LOOP", "REPEAT", "FOR", "CASE"}
_ROUTINES = {"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE", "RULE"}
_ENDING = "; \t\r\n\f\v"
"""What may stand behind a statement that has ended."""


def _has_several(shape: str, words: list[str]) -> bool:
    _, _, rest = shape.partition(";")
    if not rest.strip(_ENDING):
        return False
    first = words[0] if words else ""
    is_routine = first in ("CREATE", "ALTER") and not _ROUTINES.isdisjoint(words)
    return first not in _COMPOUND and not is_routine


def _doubled(pieces: list[str]) -> list[str]:
    return [piece if isinstance(piece, _Marker) else piece.replace("%", "%%") for piece in pieces]


def title_of(sql: str) -> str:
    """Returns at most 80 characters of the text, on one line."""
    words = " ".join(sql[:400].split())
    return words if len(words) <= 80 else words[:77] + "..."


class _Marker(str):
    """A marker that this module wrote; the other pieces are the author's text."""

    __slots__ = ()


def _marker(style: str, name: str, number: int) -> _Marker:
    if style == "qmark":
        return _Marker("?")
    if style == "numeric":
        return _Marker(f"${number}")
    return _Marker(f"%({name})s")


@lru_cache(maxsize=8)
def _pattern(dialect: Dialect) -> re.Pattern[str]:
    opaque = "|".join(dialect.opaque)
    return re.compile(rf"{opaque}|(?<![:\w\])]):(?P<parameter>[^\W\d]\w*)", re.DOTALL)


def _control_word(words: list[str]) -> str:
    """The first word of a statement that would begin or end a transaction behind our back."""
    first, second = (*words[:2], "", "")[:2]
    if first in ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ABORT", "END"):
        return first
    if first == "ROLLBACK" or (first == "START" and second == "TRANSACTION"):
        return first
    return ""
