"""Attack inputs, and functions that detect their effect."""

from __future__ import annotations

from html.parser import HTMLParser

# Leaves text, attributes of both quotes, a script, a title and a textarea; fits into every column
# of more than 20. The braces are for a page that would be rendered twice: 13371344.
HTML = "'\"></script></title></textarea><xss-canary>{{7|add:13371337}}"
HTML_SHORT = "<xss-canary>"  # for columns of 20

# In each the word by which it is found again: it may reach the database as a parameter only.
MARK = "inj3ct"
SQL = (
    f"{MARK}' OR '1'='1",
    f'{MARK}" OR "1"="1',
    f"1 OR 1=1 -- {MARK}",
    f"1; DELETE FROM cron_jobs; -- {MARK}",
    f"1'; DROP TABLE job_executions; -- {MARK}",
    f"{MARK}') UNION SELECT password, 1 FROM auth_user --",
    f"{MARK}' AND SLEEP(5) #",
    f"{MARK}'||pg_sleep(5)||'",
    f"{MARK}\\'; SELECT 1; --",
    f"{MARK}%' ESCAPE '!",
    f"{MARK}%s%(x)s{{0}}",
    f"{MARK}`; --",
    f"{MARK}\u02bc OR 1=1",  # a quote that some databases fold into a plain one
    f"{MARK}/**/OR/**/1=1",
    f"(SELECT '{MARK}')",
    f"-1 UNION ALL SELECT NULL, '{MARK}'",
)
# Lookups that would let somebody guess a column letter by letter, and the names that Django's own
# machinery takes as keywords.
LOOKUPS = (
    "params__password__startswith",
    "handler_params__token__regex",
    "handler_params__contains",
    "result__secret__startswith",
    "user__password__startswith",
    "password__startswith",
    "key_hash__startswith",
    "job__handler_params__password__startswith",
    "id__regex",
    "id__in",
    "pk__gt",
    "_connector",
    "_negated",
    "_nested",
    f"x' OR '{MARK}",
    f'x" AS "{MARK}',
    f"x.{MARK}; --",
)

# Values that must never be seen, below keys that say so.
SECRET = "hunter2-canary"
SECRETS = {
    "password": SECRET,
    "db_password": SECRET,
    "apiToken": SECRET,
    "client_secret": SECRET,
    "ssh_key": SECRET,
    "API-KEY": SECRET,
    "Authorization": f"Bearer {SECRET}",
    "dsn": f"postgresql://u:{SECRET}@h/d",
    "credentials": {"user": SECRET, "deep": [SECRET]},
    "steps": [{"auth": SECRET}, {"nested": {"pwd": SECRET}}],
}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "xss-canary":
            self.found.append(f"<{tag}> at {self.getpos()}")
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name in ("href", "src", "action") and address.startswith(
                ("javascript:", "data:text")
            ):
                self.found.append(f"{name}={address} at {self.getpos()}")


def scripts_in(page: str) -> list[str]:
    """Returns the places where input became HTML of the page; empty if there are none."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    return parser.found
