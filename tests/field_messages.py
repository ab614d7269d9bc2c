"""What jobu says about a single field, and the codes of its API, read from the sources.

It follows a text from the rule that words it to the field that the rule checks: through the
assignments of a function, and through the functions that it calls. tests/errors_page.py uses it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from scheduler.api.errors import CODES
from scheduler.models import LIMITS, LISTS
from scheduler.operations import validation

ROOT: Final = Path(__file__).resolve().parent.parent
# What `job_problems` loops over.
_LOOPS: Final = {"_TEXTS": validation._TEXTS, "LISTS": LISTS, "LIMITS": LIMITS}
# The names of variables in place of a field's name, and what they stand for.
_ANY_FIELD: Final = {"params_field": "params", "short": "allow_overlap", "field": "", "name": ""}
_SCHEDULE: Final = {"UnknownTimezoneError": "timezone"}

# Parts of other messages.
_PARTS: Final = {"and %(count)s more", "it is not UTF-8 text"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = dict[str, set[str]]  # message -> fields


def field_messages() -> Found:
    """Returns each message and the fields that it can be said about."""
    files = [
        *sorted((ROOT / "scheduler/operations").glob("*.py")),
        *sorted((ROOT / "scheduler/api").glob("*.py")),
        *sorted((ROOT / "scheduler/management").rglob("*.py")),
    ]
    found: Found = {}
    for path in [ROOT / "scheduler/operations/validation.py", *files]:
        for function in _functions(path):
            for field, text in [*_in_dicts(function), *_in_checks(function)]:
                found.setdefault(text, set()).add(field)
    for path in sorted((ROOT / "scheduler/schedule").glob("*.py")):
        for field, text in _of_schedules(path):
            found.setdefault(text, set()).add(field)
    return found


def api_codes() -> dict[tuple[int, str], str]:
    """Returns (status, code) -> the message; "" where others word it."""
    found = dict.fromkeys(CODES.items(), "")
    for path in sorted((ROOT / "scheduler/api").glob("*.py")):
        for function in _functions(path):
            for call in _calls(function, "ApiError"):
                match call.args:
                    case [ast.Constant(value=int(status)), ast.Constant(value=str(code)), text]:
                        texts = sorted(_texts(text, function))
                        found[status, code] = found.get((status, code)) or next(iter(texts), "")
            if function.name == "of_status":
                for key, text in _pairs(function):
                    if isinstance(key, ast.Constant) and isinstance(key.value, int):
                        code = CODES[key.value]
                        found[key.value, code] = next(iter(_texts(text, function)))
    return found


def _in_dicts(function: Function) -> Iterator[tuple[str, str]]:
    """What is in `InvalidJob({...})`, `invalid({...})`, and in a dict of problems."""
    problems = [call.args[0] for call in _calls(function, "InvalidJob", "invalid") if call.args]
    returns_problems = isinstance(function.returns, ast.Name) and function.returns.id == "Problems"
    for node in _nodes(function):
        match node:
            case ast.Dict(keys=keys, values=values) if node in problems or returns_problems:
                for key, value in zip(keys, values, strict=True):
                    yield from ((_field(key), text) for text in _texts(value, function))
            case ast.DictComp(value=value) if node in problems:
                yield from (("", text) for text in _texts(value, function))
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="problems"), slice=key)]):
                yield from ((_field(key), text) for text in _texts(node.value, function))


def _in_checks(function: Function) -> Iterator[tuple[str, str]]:
    """What `job_problems` checks, and its list of pairs for schedules."""
    loops = [node for node in _nodes(function) if isinstance(node, ast.For)]
    for call in _calls(function, "check"):
        match call.args:
            case [ast.Constant(value=str(field)), ast.Lambda(body=rule)]:
                fields = [field]
            case [ast.Name(), ast.Lambda(body=rule)]:
                (loop,) = [each for each in loops if call in _nodes(each)]
                fields = _looped(loop.iter)
            case _:
                continue
        for text in _texts(rule, function):
            yield from ((field, text) for field in fields)
    if function.name == "_schedule":
        for node in _nodes(function):
            match node:
                case ast.Tuple(elts=[ast.Constant(value=str(field)), message]):
                    yield from ((field, text) for text in _texts(message, function))


def _of_schedules(path: Path) -> Iterator[tuple[str, str]]:
    for function in _functions(path):
        for node in _nodes(function):
            match node:
                case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if (
                    name == "wrong" or (name.endswith("Error") and name != "ValueError")
                ):
                    given = [word.value for word in keywords if word.arg == "field"]
                    field = _field(given[0]) if given else _SCHEDULE.get(name, "cron_expression")
                    for arg in args:
                        yield from ((field, text) for text in _texts(arg, function))
        if function.name == "__init__" and "errors" in path.name:
            yield from (("cron_expression", text) for text in _texts(function, function))


def _looped(values: ast.expr) -> list[str]:
    match values:
        case ast.Tuple(elts=elements):
            return [_field(each) for each in elements if isinstance(each, ast.Constant)]
        case ast.Name(id=name) | ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return sorted(_LOOPS.get(name, ()))
    return []


def _field(key: ast.expr | None) -> str:
    match key:
        case ast.Constant(value=str(field)):
            return field
        case ast.Name(id=name):
            return _ANY_FIELD[name]
    return ""


@cache
def _texts(node: ast.AST, function: Function, depth: int = 0) -> frozenset[str]:
    """Returns the texts that an expression can be, without those that are put behind another."""
    found: set[str] = set()
    for part in _nodes(node):
        match part:
            case ast.Call(func=ast.Name(id="_" | "gettext"), args=[ast.Constant(value=str(text))]):
                found.add(text)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if depth < 4:
                for rule in _RULES.get(name, ()):
                    found |= _texts(rule, rule, depth + 1)
            case ast.Name(id=name, ctx=ast.Load()) if node is not function:
                for value in _assigned(name, function):
                    if part not in _nodes(value):
                        found |= _texts(value, function, depth + 1) if depth < 4 else frozenset()
    return frozenset(text for text in found if text[0].isalnum() or text[0] in "%{'@") - _PARTS


def _assigned(name: str, function: Function) -> list[ast.expr]:
    return _assignments(function).get(name, [])


@cache
def _assignments(function: Function) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in _nodes(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
    return found


@cache
def _nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """Everything within the node. Remembered, because the same functions are walked for each text
    that they word.
    """
    return tuple(ast.walk(node))


def _pairs(function: Function) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    for node in _nodes(function):
        if isinstance(node, ast.Dict):
            yield from zip(node.keys, node.values, strict=True)


def _functions(path: Path) -> list[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def _calls(function: Function, *names: str) -> Iterator[ast.Call]:
    for node in _nodes(function):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in names:
                yield node


# The functions that word a rule, by name.
_RULES: Final = {
    name: [function]
    for path in (
        "operations/validation.py",
        "operations/param_words.py",
        "schedule/zones.py",
        "schedule/cron_schedule.py",
    )
    for function in _functions(ROOT / "scheduler" / path)
    for name in [function.name]
    if not name.startswith(("check", "job_problems", "param_warnings"))
}
