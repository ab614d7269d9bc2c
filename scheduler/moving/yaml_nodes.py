"""YAML, document by document, with the line of each, and a broken one as its problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from scheduler.moving.importing_code import optional


@dataclass(frozen=True, kw_only=True)
class Document:
    """A mapping of a file. `problem`: why it cannot be read; the value is empty then."""

    line: int
    value: Mapping[str, Any]
    problem: str = ""
    node: Any = None

    def items(self, key: str) -> Iterator[Document]:
        """Yields the mappings of a list below `key`, with their lines."""
        for name, listed in self.node.value:
            if name.value == key:
                listed = listed.value if isinstance(listed.value, list) else [listed]
                yield from (_document(each) for each in listed)


def documents(text: str) -> Iterator[Document]:
    """Yields the documents. Raises UnreadableSource where PyYAML is missing.

    What cannot be parsed is the last one: nobody knows where the next one would begin.
    """
    yaml = optional("yaml")
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                yield _document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        yield Document(line=line, value={}, problem=problem)
    finally:
        loader.dispose()


def _document(node: Any) -> Document:
    yaml = optional("yaml")
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return Document(line=line, value={}, problem=_("it is no mapping"))
    if twice := _key_twice(node):
        return Document(line=twice.start_mark.line + 1, value={}, problem=_(
            "the key %(key)s stands twice in one mapping") % {"key": twice.value})  # fmt: skip
    try:
        value = yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        return Document(line=line, value={}, problem=getattr(error, "problem", str(error)))
    return Document(line=line, value=value, node=node)


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
