"""`:name` parameters: what is one, what is not, and what the engines get."""

import sqlite3
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbpools.binding import DIALECTS, MYSQL, POSTGRES, SQLITE, Dialect, compile_statement

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
ANY_DIALECT = st.sampled_from(list(DIALECTS.values()))


@pytest.mark.parametrize(
    ("dialect", "sql", "expected", "names"),
    [
        (SQLITE, "a = :x and b = :y or c = :x", "a = ? and b = ? or c = ?", ("x", "y", "x")),
        (POSTGRES, "a = :x and b = :y or c = :x", "a = $1 and b = $2 or c = $1", ("x", "y")),
        (MYSQL, "a = :x and b = :x", "a = %(x)s and b = %(x)s", ("x",)),
        (POSTGRES, "select :x::int, y::text", "select $1::int, y::text", ("x",)),
        (POSTGRES, "select a[1:2], a[lo:hi], :x", "select a[1:2], a[lo:hi], $1", ("x",)),
        (POSTGRES, r"select E'\':no', ':no', :x", r"select E'\':no', ':no', $1", ("x",)),
        (POSTGRES, r"select '\', :x, ':no'", r"select '\', $1, ':no'", ("x",)),
        (POSTGRES, "select $$ :no $$, $q$ $$ :no $q$, :x", None, ("x",)),
        (POSTGRES, "select /* :no /* :no */ :no */ :x", None, ("x",)),
        (MYSQL, r"select '\':no', :x", r"select '\':no', %(x)s", ("x",)),
        (MYSQL, 'select `:no`, ":no", :x # :no', None, ("x",)),
        (MYSQL, "set @a := 1, @b:=:x", None, ("x",)),
        (MYSQL, "select 5 --:x\n", None, ("x",)),
        (MYSQL, "select 5 -- :no\n", None, ()),
        (MYSQL, "select 100 % :x, '%'", "select 100 %% %(x)s, '%%'", ("x",)),
        (MYSQL, "select '%'", "select '%'", ()),
        (SQLITE, 'select [:no], `:no`, ":no", :x', None, ("x",)),
        (SQLITE, "values (:a,:b)", "values (?,?)", ("a", "b")),
        (SQLITE, "-- :no\nselect :x -- :no", None, ("x",)),
        (SQLITE, "select ':no", "select ':no", ()),
        (SQLITE, "select 12:30, a:b, ::x, : x", "select 12:30, a:b, ::x, : x", ()),
    ],
)
def test_what_is_a_parameter(
    dialect: Dialect, sql: str, expected: str | None, names: tuple[str, ...]
) -> None:
    statement = compile_statement(sql, dialect)

    assert statement.names == names
    if expected is not None:
        assert statement.sql == expected


@given(ANY_DIALECT, st.text(), NAMES)
def test_nothing_inside_a_literal_is_a_parameter(dialect: Dialect, text: str, name: str) -> None:
    literal = "'" + text.replace("\\", "").replace("'", "''") + f" :{name}'"

    statement = compile_statement(f"select {literal}, :{name}", dialect)

    assert statement.names == (name,)
    doubled = literal.replace("%", "%%") if dialect is MYSQL else literal
    assert statement.sql.startswith(f"select {doubled}, ")


@given(ANY_DIALECT, st.text())
def test_text_without_parameters_is_left_as_it_is(dialect: Dialect, text: str) -> None:
    statement = compile_statement(text, dialect)

    if not statement.names:
        assert statement.sql == text


@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_characters=":'\"\\`[]-/#$")))))
def test_mysql_formatting_gives_the_text_back(pieces: list[tuple[str, str]]) -> None:
    sql = " ".join(f"{text} :{name}" for name, text in pieces)
    statement = compile_statement(sql, MYSQL)
    if not statement.names:
        return

    # asyncmy does exactly this with the escaped values.
    filled = statement.sql % {name: f":{name}" for name in statement.names}

    assert filled == sql


DATABASE = sqlite3.connect(":memory:")


@given(st.dictionaries(NAMES, st.one_of(st.none(), st.integers(-9, 9), st.text()), min_size=1))
def test_sqlite_gets_each_value_in_its_place(values: dict[str, Any]) -> None:
    columns = [f"':{name}' as x{place}, :{name}" for place, name in enumerate(values)]
    statement = compile_statement(f"select {', '.join(columns)} -- :end", SQLITE)

    row = DATABASE.execute(statement.sql, statement.arguments(values)).fetchone()

    assert row == tuple(each for name, value in values.items() for each in (f":{name}", value))


@given(ANY_DIALECT, st.lists(NAMES, min_size=1, unique=True))
def test_names_are_found_in_order(dialect: Dialect, names: list[str]) -> None:
    sql = "select " + ", ".join(f":{name}" for name in names)

    assert compile_statement(sql, dialect).names == tuple(names)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("commit", "COMMIT"),
        ("/* x */ Begin immediate", "BEGIN"),
        ("-- x\nrollback to savepoint a", "ROLLBACK"),
        ("start transaction", "START"),
        ("select 'commit'", ""),
        ("insert into commit values (1)", ""),
    ],
)
def test_transaction_control_is_recognised(sql: str, word: str) -> None:
    assert compile_statement(sql, SQLITE).control == word


@pytest.mark.parametrize(
    ("sql", "core"),
    [
        ("delete from a ; ", "delete from a"),
        ("delete from a; -- b;\n/* c */ ;", "delete from a"),
        ("delete from a -- b\n where c = ';' /* ; */", "delete from a -- b\n where c = ';'"),
        ('select ";"', 'select ";"'),
        ("select :a; --", None),
        ("-- nothing", ""),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_core_ends_with_the_statement(dialect: Dialect, sql: str, core: str | None) -> None:
    statement = compile_statement(sql, dialect)

    assert not statement.is_several
    expected = statement.sql.removesuffix("; --") if core is None else core
    assert statement.core.rstrip() == expected


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
@pytest.mark.parametrize("values", ["('a')", "(:v{})"], ids=["literals", "parameters"])
def test_long_statement_is_compiled_within_a_moment(dialect: Dialect, values: str) -> None:
    rows = ", ".join(values.format(number) for number in range(8_000))
    started = time.process_time()
    compile_statement(f"insert into t values {rows} ; -- end", dialect)
    assert time.process_time() - started < 1.5, "it took several seconds"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_second_statement_is_seen(dialect: Dialect) -> None:
    for sql in ("a; b", "select ';' -- ;\n; select :b", "a;;/* c */;'b'", "create table a(b); c"):
        assert compile_statement(sql, dialect).is_several, sql
