"""The registry: one class per name, lookup by name, hints for unknown names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from handlers import (
    BaseHandler,
    DuplicateHandlerError,
    HandlerNotFoundError,
    HandlerParams,
    get_handler,
    get_registered_handlers,
    handler,
    registry,
)


class Blank(BaseHandler):
    async def execute(self, params):
        return None


class MailParams(HandlerParams):
    to: str


def blank() -> type[BaseHandler]:
    return type("Blank", (Blank,), {})


def test_registered_class_is_found_under_its_name():
    cls = handler("mail")(blank())

    assert get_handler("mail") is cls
    assert get_registered_handlers()["mail"] is cls
    assert cls.handler_name == "mail"


def test_registered_handlers_are_sorted():
    for name in ("zulu", "alpha", "mike"):
        handler(name)(blank())

    names = list(get_registered_handlers())

    assert names == sorted(names)


def test_aliases_and_stacked_decorators_lead_to_one_class():
    cls = handler("old")(handler("new", "newer", params=MailParams)(blank()))

    assert get_handler("old") is get_handler("new") is get_handler("newer") is cls
    assert cls.handler_name == "new"
    assert cls.params_model is MailParams


def test_description_is_the_first_line_of_the_docstring():
    @handler("documented")
    class Documented(Blank):
        """Send the mail.

        And more.
        """

    @handler("described", description="Other words")
    class Described(Documented):
        """Not these."""

    assert Documented.description == "Send the mail."
    assert Described.description == "Other words"
    assert handler("undocumented")(blank()).description == ""


def test_params_follow_the_decorator_then_the_annotation_then_the_base():
    @handler("by_annotation")
    class ByAnnotation(BaseHandler):
        async def execute(self, params: MailParams) -> None: ...

    @handler("by_decorator", params=HandlerParams)
    class ByDecorator(ByAnnotation): ...

    class NoAnnotation(BaseHandler):
        params_model = MailParams

        async def execute(self, params): ...

    @handler("by_base")
    class ByBase(NoAnnotation): ...

    @handler("by_default")
    class ByDefault(Blank): ...

    assert ByAnnotation.params_model is MailParams
    assert ByDecorator.params_model is HandlerParams
    assert ByBase.params_model is MailParams
    assert ByDefault.params_model is HandlerParams


def test_handler_that_takes_a_dict_is_recognised():
    @handler("annotated")
    class Annotated(BaseHandler):
        async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
            return params

    @handler("by_decorator", params=dict)
    class ByDecorator(Blank): ...

    assert Annotated.takes_dict
    assert ByDecorator.takes_dict


async def test_handler_that_takes_a_dict_receives_and_returns_dicts(sink):
    from handlers.runner import run_handler
    from tests.handlers.conftest import run_info

    @handler("tested")
    class Old(BaseHandler):
        async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
            return {"got": params, "kind": type(params).__name__}

    outcome = await run_handler(run_info(), {"a": 1}, sink)

    assert outcome.result == {"got": {"a": 1}, "kind": "dict"}


def test_unknown_name_is_an_error_with_the_nearest_name():
    handler("daily_sales")(blank())

    with pytest.raises(HandlerNotFoundError) as caught:
        get_handler("dayly_sales")

    assert str(caught.value) == "Handler not found: dayly_sales (did you mean 'daily_sales'?)"
    assert (caught.value.name, caught.value.hint) == ("dayly_sales", "daily_sales")


def test_unknown_name_without_a_neighbour_has_no_hint():
    with pytest.raises(HandlerNotFoundError, match=r"^Handler not found: qqqqqqqqqqqq$"):
        get_handler("qqqqqqqqqqqq")


def test_second_class_of_a_name_is_refused_with_both_places():
    @handler("twice")
    class First(Blank): ...

    with pytest.raises(DuplicateHandlerError) as caught:

        @handler("twice")
        class Second(Blank): ...

    assert "First (execute at line " in str(caught.value)
    assert "Second (execute at line " in str(caught.value)
    assert get_handler("twice") is First


def test_a_refused_alias_registers_no_name():
    handler("taken")(blank())

    with pytest.raises(DuplicateHandlerError):
        handler("free", "taken")(type("Other", (Blank,), {}))

    assert "free" not in get_registered_handlers()


def test_the_same_class_name_twice_in_one_module_is_refused():
    handler("copied")(blank())

    with pytest.raises(DuplicateHandlerError):
        handler("copied")(blank())


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "reloaded_handlers.py").write_text(
        "from handlers import BaseHandler, handler\n"
        "@handler('reloaded')\n"
        "class Reloaded(BaseHandler):\n"
        "    async def execute(self, params): return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("reloaded_handlers")
    sys.modules.pop("reloaded_handlers", None)


def test_reload_replaces_the_class(module):
    before = get_handler("reloaded")

    importlib.reload(module)

    assert get_handler("reloaded") is module.Reloaded
    assert get_handler("reloaded") is not before


def test_import_after_removal_replaces_the_class(module):
    del sys.modules["reloaded_handlers"]

    again = importlib.import_module("reloaded_handlers")

    assert get_handler("reloaded") is again.Reloaded


@pytest.mark.parametrize("name", ["", "a b", "a\n", "x" * 101, None, 5, "\u200b"])
def test_invalid_names_are_refused(name):
    with pytest.raises(ValueError, match="a handler's name"):
        handler(name)(blank())


def test_only_a_complete_handler_class_can_be_registered():
    class Unfinished(BaseHandler): ...

    class Yields(BaseHandler):
        async def execute(self, params):
            yield 1

    wrongs: list[Any] = [Unfinished, Yields, BaseModel, lambda params: None]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            handler("wrong")(wrong)


def test_resolver_answers_for_its_prefix():
    made = type("Made", (Blank,), {"takes_dict": True})
    registry.add_resolver(
        "task:", lambda name: made if name == "task:known" else None, lambda: ["task:known"]
    )

    assert get_handler("task:known") is made
    with pytest.raises(HandlerNotFoundError, match=r"did you mean 'task:known'"):
        get_handler("task:knwon")
    assert "task:known" not in get_registered_handlers()
    assert "task:known" in registry.handler_names()


def test_a_resolvers_names_cannot_be_registered():
    registry.add_resolver("task:", lambda name: None)

    with pytest.raises(ValueError, match="are taken"):
        handler("task:mine")(blank())
