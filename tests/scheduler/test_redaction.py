"""The secrets of a run's params do not stand in what its handler says."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.failure import describe
from handlers.json_safe import storable_text
from scheduler.operations.masking import MASK
from scheduler.operations.redaction import Redactor

PARAMS: dict[str, Any] = {
    "password": "hunter2!",
    "nested": [{"api_key": ["k-123456", "k-123456-long"]}],
    "auth": {"user": "somebody", "pin": 123456},
    "url": "https://u:p4ssw0rd@host/",
    "env": [{"name": "DB_PW", "value": "value-of-it"}],
    "short_token": "abc12",
    "host": "example",
    "비밀번호": "아주긴비밀번호",
}
REDACTOR = Redactor(PARAMS)


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("cannot sign in with password=hunter2!", f"cannot sign in with password={MASK}"),
        ("'hunter2!', \"hunter2!\"", f"'{MASK}', \"{MASK}\""),
        ("k-123456-long and k-123456", f"{MASK} and {MASK}"),
        ("user somebody, with p4ssw0rd", f"user {MASK}, with {MASK}"),
        ("value-of-it", MASK),
        ("아주긴비밀번호 틀림", f"{MASK} 틀림"),
        ("암호 somebody가 틀립니다", f"암호 {MASK}가 틀립니다"),
        (r"'\nsomebody' ?a%3Dsomebody", rf"'\n{MASK}' ?a%3D{MASK}"),
        # These stay: parts of longer words, short texts, numbers, what is no secret.
        ("ahunter2! hunter2!", f"ahunter2! {MASK}"),
        ("nobodysomebody somebodyelse", "nobodysomebody somebodyelse"),
        ("abc12 123456 example", "abc12 123456 example"),
        ("", ""),
    ],
)
def test_a_secret_is_replaced_where_it_stands_whole(said: str, stored: str):
    assert REDACTOR.text(said) == stored


def test_in_results_texts_are_replaced_and_numbers_and_booleans_stay():
    result = {
        "ok": True, "count": 123456, "echo": "hunter2!", "deep": [{"note": "was k-123456"}],
        "value-of-it": None, "host": "example",
    }  # fmt: skip
    assert REDACTOR.value(result) == {
        "ok": True, "count": 123456, "echo": MASK, "deep": [{"note": f"was {MASK}"}],
        MASK: None, "host": "example",
    }  # fmt: skip


@given(st.text(min_size=6, max_size=40).filter(lambda text: text.strip() == text))
def test_a_secret_is_replaced_as_python_json_and_urls_write_it(secret: str):
    redactor = Redactor({"token": secret})
    plain = Redactor({"token": "nothing else"})

    for form in (secret, repr(secret), json.dumps(secret), quote(secret, safe="")):
        said = f"<{form}>"
        assert secret not in redactor.text(said) or secret in f"<{MASK}>"
        assert plain.text(said) == said


def test_a_key_of_several_lines_is_replaced_also_where_its_lines_are_indented():
    key = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\n-----END KEY-----\r\n"
    redactor = Redactor({"private_key": key})
    try:
        raise ExceptionGroup("several", [ValueError(f"no key: {key}"), ValueError(key.strip())])
    except ExceptionGroup as error:
        failure = describe(error)

    for said in (failure.error, failure.traceback):
        assert "MIIEvQ" in said
        assert "MIIEvQ" not in redactor.text(said)


def test_half_a_pair_of_surrogates_from_sql_is_no_error():
    assert Redactor({"password": "abc\ud800def"}).text("x") == "x"


def test_a_secret_of_which_a_part_was_cut_off_is_replaced_too():
    secret = "0123456789abcdefghij" * 3
    redactor = Redactor({"token": secret})
    for size in range(200, 260):
        said = storable_text(f"{'x ' * 40}{secret} {'y ' * 200}{secret}", size)
        stored = redactor.text(said)
        assert "0123" not in stored, size


@pytest.mark.parametrize("params", [None, [], "text", 5, {"password": None}, {"token": {"a": 1}}])
def test_params_without_a_secret_change_nothing(params: Any):
    assert Redactor(params).text("password=hunter2!") == "password=hunter2!"
    assert Redactor(params).value({"a": "hunter2!"}) == {"a": "hunter2!"}
