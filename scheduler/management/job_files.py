"""Reads and writes files of jobs: YAML, and JSON where PyYAML is not installed.

Scalars are read as JSON and YAML 1.2 mean them: `no` and `2026-01-31` are texts, `12:30` too.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.management.cli import Refused
from scheduler.operations.job_files import Document, Mistake

# jobs, a job's name, a field
_LEVELS_WITH_LINES: Final = 3
_LONGEST_BYTES: Final = 10_000_000


def read(name: str) -> Document:
    """Returns the file, or standard input for `-`. Raises Refused if it is no YAML or JSON."""
    text = _text_of(name)
    if name.endswith(".json") or (_yaml() is None and text.lstrip().startswith("{")):
        return _read_json(text)
    yaml = _needed_yaml(_("give a .json file"))
    loader = _loader_class()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(value=None)
        lines = dict(_lines(node, (), yaml))
        mistakes = tuple(_doubles(node, (), yaml))
        return Document(value=loader.construct_document(node), lines=lines, mistakes=mistakes)
    except yaml.YAMLError as error:
        raise Refused(_("no YAML: %(problem)s") % {"problem": _problem(error)}) from None
    except (RecursionError, ValueError, TypeError) as error:
        raise Refused(_("no YAML that holds jobs: %(kind)s") % {
            "kind": type(error).__name__
        }) from None  # fmt: skip
    finally:
        loader.dispose()


def write_yaml(document: dict[str, Any]) -> str:
    yaml = _needed_yaml(_("use --json"))
    text: str = yaml.dump(
        document, Dumper=_dumper_class(), sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _text_of(name: str) -> str:
    path = Path("/dev/stdin" if name == "-" else name)
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_BYTES + 1)
        if len(content) > _LONGEST_BYTES:
            raise Refused(_("%(name)s is larger than 10 MB") % {"name": name})
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or _("it is not UTF-8 text")
        text = _("the file %(name)s cannot be read: %(reason)s")
        raise Refused(text % {"name": name, "reason": reason}) from error


# --- JSON ----------------------------------------------------------------------------------------


def _read_json(text: str) -> Document:
    mistakes: list[Mistake] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                mistakes.append(Mistake(text=_("is there twice"), field=key))
            seen.add(key)
        return dict(pairs)

    try:
        return Document(value=json.loads(text, object_pairs_hook=members), mistakes=tuple(mistakes))
    except json.JSONDecodeError as error:
        raise Refused(_("not JSON: %(problem)s at line %(line)s, column %(column)s") % {
            "problem": error.msg, "line": error.lineno, "column": error.colno,
        }) from None  # fmt: skip
    except (RecursionError, ValueError) as error:
        raise Refused(_("not JSON that can be stored")) from error


# --- YAML ----------------------------------------------------------------------------------------


@cache
def _yaml() -> Any:
    """PyYAML, or None. It belongs to the extra `site`: jobu alone does not need it."""
    try:
        return importlib.import_module("yaml")
    except ImportError:
        return None


def _needed_yaml(otherwise: str) -> Any:
    if (yaml := _yaml()) is None:
        raise Refused(
            _("PyYAML is not installed: pip install PyYAML, or %(otherwise)s")
            % {"otherwise": otherwise}
        )
    return yaml


@cache
def _loader_class() -> Any:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined, unused-ignore]
        """PyYAML's safe loader with fewer kinds of plain scalars. Each is one of PyYAML's, so that
        its dumper quotes the texts that look like one.
        """

    Loader.yaml_implicit_resolvers = {}
    for kind, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
        ("float", r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?", "-+0123456789"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("merge", r"<<", "<"),
    ):
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(first)
        )
    return Loader


@cache
def _dumper_class() -> Any:
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined, unused-ignore]
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)  # items stand below their key

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None  # a script is read more easily line by line
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


def _lines(node: Any, path: tuple[str, ...], yaml: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    if not isinstance(node, yaml.MappingNode) or len(path) == _LEVELS_WITH_LINES:
        return
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            below = (*path, key.value)
            yield below, key.start_mark.line + 1
            yield from _lines(value, below, yaml)


def _doubles(node: Any, path: tuple[str, ...], yaml: Any) -> Iterator[Mistake]:
    """Yields the keys that a mapping has twice. YAML itself would keep the last one."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubles(item, path, yaml)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line, mark = key.start_mark.line + 1, (key.tag, key.value)
        if mark in seen and not key.tag.endswith(":merge"):
            text = _("is there twice: also in line %(line)s") % {"line": seen[mark]}
            where = (*path, key.value)[1:]
            yield Mistake(text=text, job=where[0] if where else "", line=line,
                          field=".".join(where[1:]) if where else key.value)  # fmt: skip
        seen[mark] = line
        yield from _doubles(value, (*path, key.value), yaml)


def _problem(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    # Without words of the file: they may be secrets.
    problem = re.sub(r"'(?!<)[^']{2,}'", "'***'", str(getattr(error, "problem", "") or ""))
    if mark is None:
        return problem or type(error).__name__
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
