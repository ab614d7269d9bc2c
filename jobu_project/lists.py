"""Lists in the configuration: in YAML, or in a variable as one text with commas."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def split(text: str) -> list[str]:
    """Returns the words of a text with commas, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _split_text(value: object) -> object:
    """An environment variable can hold a list only as a text with commas."""
    return split(value) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split_text)]


def _dotted(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{name!r} must be the dotted name of a Django app, like shop.orders")
    return names


AppNames = Annotated[Words, AfterValidator(_dotted)]
