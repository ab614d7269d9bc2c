"""TLS to a server: one pair of options, in the words of libpq, on every engine."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dbpools.section import Section

SYSTEM = "system"
"""As `sslrootcert`, on PostgreSQL: the certificates that this machine trusts."""

MySQLSslMode = Literal["false", "true", "disable", "require", "verify-ca", "verify-full"]
SslMode = Literal[MySQLSslMode, "allow", "prefer"]


def _lower_case(value: Any) -> Any:
    """YAML's true and false as words, and every word in lower case."""
    return str(value).lower() if isinstance(value, (bool, str)) else value


LOWER_CASE = BeforeValidator(_lower_case)


class TlsOptions(Section):
    """How the way to a server is encrypted, and whom it may lead to."""

    ssl: Annotated[SslMode, LOWER_CASE] = Field(
        "false",
        description="false demands nothing; true is verify-full; else an sslmode of libpq.",
    )
    sslrootcert: str | None = Field(
        None,
        description="File with the certificates that may sign the server's certificate; on"
        " PostgreSQL also `system`: those that this machine trusts.",
    )

    @model_validator(mode="after")
    def _verifies_what_it_names(self) -> Self:
        if self.sslrootcert and self.ssl == "false":
            raise ValueError(
                "sslrootcert without ssl (sslmode) verifies nothing; set ssl to verify-full"
            )
        return self

    @property
    def ssl_mode(self) -> str | None:
        """The sslmode that is demanded; None if none is."""
        return {"false": None, "true": "verify-full"}.get(self.ssl, self.ssl)

    @property
    def ssl_authority(self) -> str | None:
        """Who may sign the server's certificate: a file, or SYSTEM. None: the driver's default."""
        if self.sslrootcert is None and self.ssl == "true":
            return SYSTEM
        return self.sslrootcert


class MySQLTlsOptions(TlsOptions):
    """The same for MySQL and MariaDB, whose Python drivers know fewer modes."""

    ssl: Annotated[MySQLSslMode, LOWER_CASE] = Field(
        "false",
        description="false demands nothing; require, verify-ca or verify-full (true) demand TLS.",
    )

    @model_validator(mode="after")
    def _names_an_authority(self) -> Self:
        if self.ssl in ("true", "verify-ca", "verify-full") and not self.sslrootcert:
            raise ValueError(
                f"ssl: {self.ssl} needs sslrootcert (ssl-ca), the file with the certificates that"
                " may sign the server's"
            )
        return self

    def ssl_argument(self) -> dict[str, Any] | None:
        """The argument `ssl` of PyMySQL and asyncmy, which then refuse a server without TLS."""
        if self.ssl_mode in (None, "disable"):
            return None
        authority = self.ssl_authority
        # As in libpq: an authority that is named is also asked in the mode `require`.
        checks = {
            "check_hostname": self.ssl_mode == "verify-full",
            "verify_mode": authority is not None,
        }
        return {**checks, **({"ca": authority} if authority else {})}
