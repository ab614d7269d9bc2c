"""One URL instead of host, port, database, user and password."""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DatabaseType = Literal["sqlite", "postgres", "mysql"]

SCHEMES: Mapping[str, DatabaseType] = {
    "sqlite": "sqlite",
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
}

# What a URL may say behind its question mark: the option that it sets, and its words for it.
_SSL_MODES = {
    word: word for word in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
}
_MYSQL_SSL_MODES = {
    "DISABLED": "disable",
    "REQUIRED": "require",
    "VERIFY_CA": "verify-ca",
    "VERIFY_IDENTITY": "verify-full",
}
_QUERY: Mapping[DatabaseType, Mapping[str, tuple[str, Mapping[str, str] | None]]] = {
    "sqlite": {},
    "postgres": {"sslmode": ("ssl", _SSL_MODES), "sslrootcert": ("sslrootcert", None)},
    "mysql": {"ssl-mode": ("ssl", _MYSQL_SSL_MODES), "ssl-ca": ("sslrootcert", None)},
}


def take_apart(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entry with the parts of its `dsn` as keys of their own.

    A key that stands beside the dsn wins. The scheme may replace `type`. ValueError says what is
    wrong with the URL, and never shows a part that may be a password.
    """
    if not entry.get("dsn"):
        return dict(entry)
    url, port = _split(str(entry["dsn"]))
    scheme = url.scheme.split("+")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"dsn: unknown scheme {scheme!r}, one of {', '.join(SCHEMES)}")
    kind = SCHEMES[scheme]
    declared = entry.get("type")
    if declared not in (None, kind):
        raise ValueError(f"type is {declared!r} but the dsn's scheme says {kind!r}")
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    found: dict[str, Any] = {"type": kind}
    if kind == "sqlite":
        # As SQLAlchemy and dj-database-url write it: three slashes relative, four absolute.
        found["path"] = unquote(url.path.removeprefix("/"))
    else:
        found["host"] = url.hostname or query.pop("host", None)
        found["port"] = port
        found["database"] = unquote(url.path.lstrip("/"))
        found["user"] = unquote(url.username) if url.username else None
        found["password"] = unquote(url.password) if url.password else None
        query.pop("host", None)
    options = _options(kind, query, entry.get("options") or {})
    found |= {key: value for key, value in entry.items() if value is not None}
    return {**found, "options": options}


def _split(dsn: str) -> tuple[SplitResult, int | None]:
    try:
        url = urlsplit(dsn)
        port = url.port
    except ValueError:
        pass  # the text of the error would show parts of the password
    else:
        if "@" not in url.query:  # the one behind the password
            return url, port
    raise ValueError(
        "dsn: host or port cannot be read; in a user name or password the characters"
        " / : @ [ ] ? # must be written as %2F %3A %40 %5B %5D %3F %23"
    )


def _options(kind: DatabaseType, query: Mapping[str, str], options: Any) -> Any:
    """The entry's options with those that its URL names. ValueError for what would be dropped."""
    known = _QUERY[kind]
    for name, value in query.items():
        if name not in known:
            places = [] if kind == "sqlite" else ["host"]
            possible = ", ".join([*places, *known]) or "nothing"
            raise ValueError(
                f"dsn: {name!r} is not possible behind the question mark (possible: {possible});"
                " everything else has its place in `options` or `pool`"
            )
        option, words = known[name]
        if words is not None and value not in words:
            raise ValueError(f"dsn: {name} must be one of {', '.join(words)}")
        wanted = value if words is None else words[value]
        if not wanted:
            raise ValueError(f"dsn: {name} is empty")
        if not isinstance(options, Mapping):
            return options  # the model refuses it
        # `false` is what an entry says that demands nothing.
        if str(options.get(option) or False).lower() not in ("false", wanted.lower()):
            raise ValueError(f"dsn: its {name} contradicts options.{option}; keep one of them")
        options = {**options, option: wanted}
    return options
