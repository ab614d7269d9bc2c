"""TLS to a server: libpq's words (`verify-full`, `sslrootcert`) on every engine."""

from typing import Any

from dbpools.config import DatabaseConfig
from dbpools.errors import ConfigurationError

SYSTEM = "system"
"""As sslrootcert, on PostgreSQL: the certificates that this machine trusts anyway."""


def mode_of(config: DatabaseConfig) -> str | None:
    """The sslmode that is demanded, `true` being verify-full; None: none is. ConfigurationError."""
    mode, where = config.options["ssl"].lower(), f"databases.{config.name}.options"
    authority = config.options["sslrootcert"]
    if mode == "false":
        if authority:
            raise ConfigurationError(
                f"{where}.sslrootcert without ssl (sslmode) verifies nothing; set verify-full"
            )
        return None
    if config.type == "mysql" and mode in ("true", "verify-ca", "verify-full") and not authority:
        raise ConfigurationError(
            f"{where}.ssl: {mode} needs sslrootcert (ssl-ca), the file with the certificates that"
            " may sign the server's"
        )
    return "verify-full" if mode == "true" else mode


def authority_of(config: DatabaseConfig) -> str | None:
    """Who may sign the server's certificate: a file, or SYSTEM; None: the driver's default."""
    given: str | None = config.options["sslrootcert"]
    return SYSTEM if given is None and config.options["ssl"].lower() == "true" else given


def mysql_ssl(config: DatabaseConfig) -> dict[str, Any] | None:
    """The argument `ssl` of PyMySQL and asyncmy, which then refuse a server without TLS."""
    mode = mode_of(config)
    if mode in (None, "disable"):
        return None
    authority = authority_of(config)
    # As libpq has it: whoever names an authority wants it to be asked, also with `require`.
    checks = {"check_hostname": mode == "verify-full", "verify_mode": authority is not None}
    return {**checks, **({"ca": authority} if authority else {})}
