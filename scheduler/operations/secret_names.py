"""What looks like a secret: by its name, by what stands beside it, or as the password of a URL.

The only place with these rules. It decides nothing about what is shown instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# A name is looked at twice: in its words (`dbPassword` is `db_password`), and as it is, because
# people write `dbpassword` too.
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHERS = re.compile(r"[^a-z]+")

# Taken out of a name before it is judged.
_HARMLESS = re.compile(
    r"(?<![a-z])(?:primary|foreign|unique|sort|group|order|partition|shard|cache|hash|range|row"
    r"|index|lookup|join|natural|surrogate|composite|dedupe|dedup|idempotency|routing|public)"
    r"_?keys?(?![a-z])"
    r"|(?<![a-z])(?:max|min|num|total|prompt|completion|input|output|new)_?tokens(?![a-z])"
    r"|(?<![a-z])tokens?_?(?:counts?|limits?|budgets?|usage)(?![a-z])"
    r"|tokeni[sz]|secretar|secreti|secrete(?![a-z])"
)
_SECRET = re.compile(
    # whole words
    r"(?<![a-z])(?:keys?|pass|passwd|pwd|pw|pin|creds?|credentials?|auth|dsn|jwt|bearer|cookies?"
    r"|signatures?)(?![a-z])"
    # parts of words
    r"|password|passphrase|passcode|passwd|secret|token|authorization"
    r"|(?:api|access|ssh|private|auth|signing|master|encryption)key"
    # two words written as one
    r"|(?<![a-z])(?:user|db|root|admin|login|mail|smtp|ftp)(?:pass|pwd|pw)(?![a-z])"
)
_HARMLESS_KOREAN = re.compile(
    r"암호화폐|암호화(?![ _-]?키)|최대[ _-]?토큰|토큰[ _-]?(?:수|개수|한도)"
)
_SECRET_KOREAN = re.compile(
    r"비밀[ _-]?번호|비번|패스워드|암호|토큰|시크릿"
    r"|(?:인증|비밀|개인|접근|액세스|서명|암호화|api)[ _-]?키"
)

# {"name": "API_KEY", "value": ...}: the value has the name that stands beside it.
_NAMING = frozenset({"name", "key", "field", "header", "param", "parameter", "variable", "var"})
_NAMED = frozenset({"value", "values", "val", "default", "content"})

# {"kind": "healthchecks", "url": ...}: whoever knows the URL of a check can report for the job.
_SECRET_OF_KIND = {"healthchecks": "url"}

# scheme://user:PASSWORD@host. The password ends at the last @ before the path. Only the end of the
# scheme is looked at: a search for its beginning takes minutes in a long text such as "a-a-a-...".
_URL_PASSWORD = re.compile(
    r"(?P<before>(?<=[a-z0-9+.-])://[^\s/?#:@]*:)(?P<secret>[^\s/?#]+)(?=@)", re.IGNORECASE
)
# ?name=VALUE or &name=VALUE in a text that holds a URL.
_URL_QUERY = re.compile(r"(?P<before>[?&](?P<name>[^\s=&#?]{1,100})=)(?P<secret>[^\s&#]+)")


def looks_secret(name: str) -> bool:
    """True for `password`, `apiKey`, `X-Auth-Token`, `ssh_key`, `비밀번호`; false for `monkey`,
    `author`, `primary_key` or `max_tokens`.
    """
    words = _OTHERS.sub("_", _HUMP.sub("_", name).lower())
    as_it_is = _OTHERS.sub("_", name.lower())
    if any(_SECRET.search(_HARMLESS.sub("_", look)) for look in {words, as_it_is}):
        return True
    if name.isascii():
        return False
    # macOS writes Korean as single letters, which NFC puts together.
    korean = unicodedata.normalize("NFC", name).lower()
    return _SECRET_KOREAN.search(_HARMLESS_KOREAN.sub("_", korean)) is not None


def secret_members(mapping: Mapping[Any, Any]) -> set[Any]:
    """The keys of a JSON object whose values are secrets."""
    found = {key for key in mapping if looks_secret(str(key))}
    names = (mapping[key] for key in mapping if str(key).lower() in _NAMING)
    if any(isinstance(name, str) and looks_secret(name) for name in names):
        found.update(key for key in mapping if str(key).lower() in _NAMED)
    kind = mapping.get("kind")
    if isinstance(kind, str) and (secret := _SECRET_OF_KIND.get(kind)) in mapping:
        found.add(secret)
    return found


def replace_in_urls(text: str, replaced: Callable[[str], str]) -> str:
    """Returns `text` with `replaced(secret)` for each secret in a URL: the password of its user,
    and the parameters of its query that look secret.
    """
    if "://" not in text:
        return text

    def of_query(found: re.Match[str]) -> str:
        if not looks_secret(found["name"]):
            return found[0]
        return found["before"] + replaced(found["secret"])

    hidden = _URL_PASSWORD.sub(lambda found: found["before"] + replaced(found["secret"]), text)
    return _URL_QUERY.sub(of_query, hidden)


def secrets_in_urls(text: str) -> list[str]:
    """The secrets that `replace_in_urls` replaces."""
    found: list[str] = []

    def collect(secret: str) -> str:
        found.append(secret)
        return secret

    replace_in_urls(text, collect)
    return found
