"""Section `cors` of admin.yaml."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from scheduler.setting_types import Section


class CorsConfig(Section):
    """Which pages of other origins may call the API."""

    origins: tuple[str, ...] = Field(
        (), description="origins such as https://shop.example.com, or *; without any, CORS is off"
    )
    allow_credentials: bool = Field(
        False, description="also allow cookies; a token is the better choice for such pages"
    )
    allow_methods: tuple[str, ...] = Field(
        (), description="if empty: DELETE, GET, OPTIONS, PATCH, POST, PUT"
    )
    allow_headers: tuple[str, ...] = Field(
        (),
        description="if empty: accept, authorization, content-type, user-agent, x-csrftoken,"
        " x-requested-with",
    )

    @model_validator(mode="after")
    def _origins_are_safe(self) -> CorsConfig:
        for origin in self.origins:
            if origin != "*" and not re.fullmatch(r"https?://[^\s/@?#]+", origin):
                raise ValueError(f"origins: {origin!r} must be like https://host:port, or *")
        if "*" in self.origins and self.allow_credentials:
            raise ValueError(
                "origins: * with allow_credentials would let every page of the web act as whoever "
                "is signed in here; name the origins"
            )
        return self
