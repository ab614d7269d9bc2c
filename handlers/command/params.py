"""The params of the handler `command`, and which programs they may name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The loader would run any library inside an allowed program. JOBU_ variables are jobu's own.
_REFUSED_VARIABLES: Final = ("LD_", "DYLD_", "JOBU_")
SHELL: Final = "/bin/sh"

ExitCode = Annotated[int, Field(ge=0, le=255)]


def translate(text: str) -> str:
    """Marks a text for the catalogue. The doors translate it."""
    return text


class CommandParams(BaseModel):
    """What a job of the handler `command` runs. Checked when it is saved, and when it runs."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    allowed: ClassVar[tuple[str, ...]] = ()
    allows_shell: ClassVar[bool] = False

    argv: list[str] = Field([], description="the program by its absolute path, and its arguments")
    shell: str = Field("", description=f"or a text for {SHELL} -c")
    env: dict[str, str] = Field({}, description="added to a small environment")
    cwd: str | None = Field(None, description="the folder it runs in; otherwise the home folder")
    stdin: str = Field("", description="what it reads from standard input")
    ok_codes: list[ExitCode] = Field([0], min_length=1, description="exit codes of a success")

    @field_validator("argv")
    @classmethod
    def _program_is_allowed(cls, value: list[str]) -> list[str]:
        # The text itself is compared, not what a link leads to: of /bin/ls and /bin/sh both may
        # lead to one program that does what its name says (busybox).
        if value and value[0] not in cls.allowed:
            text = translate("begins with a program that worker.commands.allow does not name")
            raise PydanticCustomError("command_not_allowed", text)
        return value

    @field_validator("shell")
    @classmethod
    def _shell_is_allowed(cls, value: str) -> str:
        if value and not cls.allows_shell:
            text = translate("is off here (worker.commands.shell); give argv")
            raise PydanticCustomError("shell_not_allowed", text)
        return value

    @field_validator("env")
    @classmethod
    def _variables_can_be_set(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name) or name.startswith(_REFUSED_VARIABLES):
                text = translate("has a name that cannot be set")
                raise PydanticCustomError("variable_not_allowed", text)
        return value

    @field_validator("cwd")
    @classmethod
    def _folder_is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            text = translate("must be an absolute path")
            raise PydanticCustomError("not_absolute", text)
        return value

    @model_validator(mode="after")
    def _names_one_program(self) -> CommandParams:
        if bool(self.argv) == bool(self.shell):
            text = translate("give argv or shell, and not both")
            raise PydanticCustomError("not_one_program", text)
        return self

    def words(self) -> list[str]:
        """Returns the program and its arguments."""
        return self.argv or [SHELL, "-c", self.shell]


def with_allowed(allow: Sequence[str], *, shell: bool) -> type[CommandParams]:
    """Returns the model that accepts the programs in `allow`. Its schema names them."""
    names = f" ({', '.join(allow)})" if allow else " (none is allowed here)"
    about = f"the program by its absolute path{names}, and its arguments"
    made = create_model(
        "CommandParams", __base__=CommandParams, argv=(list[str], Field([], description=about))
    )
    made.allowed, made.allows_shell = tuple(allow), shell
    return made
