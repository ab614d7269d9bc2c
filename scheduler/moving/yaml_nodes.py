"""YAML, document by document, with the line of each, and a broken one as its problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.moving.importing_code import optional

_NULL: Final = "tag:yaml.org,2002:null"
_MARK: Final = re.compile(r"---(\s|$)")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A mapping of a file. `problem`: why it cannot be read; the value is empty then.

    `text`: the line at which reading has failed.
    """

    line: int
    value: Mapping[str, Any]
    problem: str = ""
    node: Any = None
    text: str = ""

    def items(self, key: str) -> Iterator[Document]:
        """Yields the mappings of a list below `key`, with their lines."""
        for name, listed in self.node.value:
            if name.value == key and listed.tag != _NULL:
                listed = listed.value if isinstance(listed.value, list) else [listed]
                yield from (_document(each) for each in listed)


def documents(text: str) -> Iterator[Document]:
    """Yields the documents. Raises UnreadableSource where PyYAML is missing.

    After one that cannot be parsed, the next one begins at the next line with `---`.
    """
    yaml = optional("yaml")
    lines = _without_tabs(text).split("\n")
    first = 0
    while first < len(lines):
        # Empty lines in place of what was read already: so each mark has the line of the file.
        loader = _loader("\n" * first + "\n".join(lines[first:]))
        if isinstance(loader, Document):
            yield loader
            return
        try:
            while loader.check_node():
                node = loader.get_node()
                if node is not None and node.tag != _NULL:
                    yield _document(node)
            return
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = mark.line if mark else first
            problem = getattr(error, "problem", None) or str(error)
            yield Document(line=at + 1, value={}, problem=problem, text=_line(lines, at))
            first = _next_document(lines, max(at, first))
        finally:
            loader.dispose()


def _loader(text: str) -> Any:
    """Returns the loader, or a Document that says which character no YAML may have."""
    yaml = optional("yaml")
    try:
        return yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return Document(line=line, value={}, problem=" ".join(str(error).split()))


def _without_tabs(text: str) -> str:
    """JSON may be indented by tabs, and PyYAML reads none. In its texts a tab is written `\\t`."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return text
    try:
        json.loads(text.lstrip("\ufeff"))
    except ValueError:
        return text
    return text.replace("\t", " ")


def _line(lines: Sequence[str], number: int) -> str:
    return lines[number].strip() if number < len(lines) else ""


def _next_document(lines: Sequence[str], failed: int) -> int:
    """Returns the line of the next document after the one that could not be read."""
    following = range(failed + 1, len(lines))
    return next((n for n in following if _MARK.match(lines[n])), len(lines))


def _document(node: Any) -> Document:
    yaml = optional("yaml")
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return Document(line=line, value={}, problem=_("it is no mapping"))
    if kind := _kind_of_list(node):
        # Not as a whole: one bad item must not hide the others.
        return Document(line=line, value={"kind": kind}, node=node)
    if twice := _key_twice(node):
        return Document(line=twice.start_mark.line + 1, value={}, problem=_(
            "the key %(key)s stands twice in one mapping") % {"key": twice.value})  # fmt: skip
    try:
        value = yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        at = mark.line if mark else node.start_mark.line
        # A text has no stream, so its marks keep it.
        text = _line(node.start_mark.buffer.split("\n"), at)
        problem = getattr(error, "problem", None) or str(error)
        return Document(line=line, value={}, problem=problem, text=text)
    return Document(line=line, value=value, node=node)


def _kind_of_list(node: Any) -> str:
    found = {key.value: value.value for key, value in node.value if isinstance(key.value, str)}
    kind = found.get("kind")
    is_list = isinstance(kind, str) and kind.endswith("List")
    return str(kind) if is_list and isinstance(found.get("items"), list) else ""


def _key_twice(node: Any) -> Any:
    """Returns the second of two equal keys. SafeLoader keeps the last one and says nothing."""
    yaml = optional("yaml")
    if isinstance(node, yaml.SequenceNode):
        return next((found for each in node.value if (found := _key_twice(each))), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    seen = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            return key
        seen.add(getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else id(key))
        if found := _key_twice(value):
            return found
    return None
