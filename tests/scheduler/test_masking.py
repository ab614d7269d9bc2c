"""What looks like a secret, what is shown instead of it, and how it comes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.operations.masking import MASK, left_masked, mask, unmask
from scheduler.operations.secret_names import looks_secret

SECRET_NAMES = (
    "password", "dbPassword", "passwordHash", "db_password2", "PASSWORD", "pass", "passwd", "pwd",
    "pw", "db_pw", "dbpw", "userpass", "rootpass", "passphrase", "passcode", "pin", "pinCode",
    "key", "keys", "API_KEY", "apikey", "apiKey", "APIKey", "APIKEYs", "x-api-key", "accesskey",
    "accessKeyId", "sshkey", "ssh.key", "privateKey", "private_key", "privatekey", "masterkey",
    "token", "TOKENs", "accessToken", "refresh_token", "tokenIsValid", "X-Auth-Token", "mytoken",
    "secret", "client_secret", "clientsecret", "secretKey", "SECRETS",
    "auth", "Authorization", "jwt", "idJwt", "bearer", "cookie", "Set-Cookie", "signature",
    "creds", "aws_creds", "credentials", "dsn", "SENTRY_DSN",
    "max_tokens_secret", "cache_key_password", "primary_api_key",
    "비밀번호", "관리자_비밀번호", "비밀 번호", "암호", "DB암호", "토큰", "접근토큰",
    "인증키", "인증_키", "API키", "암호화키", "패스워드", "비번",
    "\u1110\u1169\u110f\u1173\u11ab",  # 토큰, as macOS writes it
)  # fmt: skip
HARMLESS_NAMES = (
    "monkey", "keyboard", "author", "passenger", "bypass", "compass", "id", "name", "", "키",
    "primary_key", "primaryKey", "primarykey", "sort_key", "sortKey", "cache_key", "foreignKeys",
    "partition_key", "public_key", "idempotency_key", "Idempotency-Key",
    "max_tokens", "maxTokens", "max_new_tokens", "prompt_tokens", "token_count", "tokenCount",
    "token_limit", "tokenizer", "tokenizerName", "tokenization", "secretary", "secretariat",
    "pinned", "spin", "opinion", "signed", "cookbook", "spw",
    "암호화폐", "암호화_여부", "토큰_수", "최대토큰",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_that_count_as_secret(name: str):
    assert looks_secret(name)


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_names_that_do_not_count_as_secret(name: str):
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://jobu:hunter2@db/shop", f"postgres://jobu:{MASK}@db/shop"),
        ("redis://:hunter2@cache:6379/0", f"redis://:{MASK}@cache:6379/0"),
        ("https://u:p@ss:w0rd@host/x", f"https://u:{MASK}@host/x"),
        ("see ftp://u:p@a and ftp://u:q@b", f"see ftp://u:{MASK}@a and ftp://u:{MASK}@b"),
        ("https://h/x?a=1&token=abc&b=2#c", f"https://h/x?a=1&token={MASK}&b=2#c"),
        ("https://h/x?max_tokens=7", "https://h/x?max_tokens=7"),
        ("https://host:8080/a@b?mail=a@b.c", "https://host:8080/a@b?mail=a@b.c"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("a: b@c", "a: b@c"),
    ],
)
def test_the_secrets_of_a_url_are_hidden_and_the_rest_is_shown(text: str, shown: str):
    assert mask({"url": [text]}) == {"url": [shown]}
    assert unmask({"url": [shown]}, {"url": [text]}) == {"url": [text]}


def test_a_long_text_is_searched_within_a_moment():
    started = time.process_time()
    mask({"text": "://" + "a-" * 30_000})
    assert time.process_time() - started < 5, "it took minutes"


def test_a_changed_url_does_not_get_the_password_of_the_stored_one():
    typed = unmask({"url": f"https://u:{MASK}@elsewhere/"}, {"url": "https://u:hunter2@host/"})

    assert list(left_masked(typed)) == ["url"]


@pytest.mark.parametrize("naming", ["name", "Name", "key", "header", "variable"])
@pytest.mark.parametrize("name", ["API_KEY", "비밀번호"])
def test_a_value_has_the_name_that_stands_beside_it(naming: str, name: str):
    stored = {
        "env": [{naming: name, "value": "hunter2", "note": "n"}, {naming: "HOST", "value": "h"}]
    }

    shown = mask(stored)

    assert shown["env"][0]["value"] == MASK
    assert shown["env"][0]["note"] == "n"
    assert shown["env"][1]["value"] == "h"
    assert unmask(shown, stored) == stored


def test_a_value_under_another_name_does_not_get_the_secret():
    stored = {"name": "API_KEY", "value": "hunter2"}

    typed = unmask({"name": "HOST", "value": MASK}, stored)

    assert typed == {"name": "HOST", "value": MASK}


PLAIN = st.text("abc", max_size=4) | st.integers() | st.none() | st.booleans()
NAMES = st.sampled_from([*SECRET_NAMES, *HARMLESS_NAMES, "value", "content"])
# The naming members of a pair come first, so that names are not secrets themselves.
VALUES = st.recursive(
    PLAIN | st.just("https://u:hunter2@h/?token=hunter2"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.fixed_dictionaries({"name": NAMES, "value": inner})
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_shown_holds_no_secret_and_sent_back_it_is_what_was_stored(stored: Any):
    shown = mask(stored)

    assert "hunter2" not in json.dumps(shown)
    assert mask(shown) == shown
    assert unmask(shown, stored) == stored


def test_mask_hides_secrets_at_every_depth_and_shows_empty_values():
    value = {"a": [{"token": "t", "b": 1}], "secret": {"deep": 1}, "password": "", "key": 0}
    assert mask(value) == {
        "a": [{"token": MASK, "b": 1}],
        "secret": MASK,
        "password": "",
        "key": MASK,
    }


def test_unmask_restores_masked_values():
    stored = {"a": [{"token": "t", "b": 1}], "secret": {"deep": 1}, "x": 1}
    assert unmask(mask(stored), stored) == stored
    typed = {**mask(stored), "x": 2, "secret": "new"}
    assert unmask(typed, stored) == {**stored, "x": 2, "secret": "new"}


def server(host: str, password: str = MASK) -> dict[str, str]:
    return {"host": host, "password": password}


A, B, C = server("a", "A"), server("b", "B"), server("c", "C")
TWINS = [{"token": "one"}, {"token": "two"}]
MASKED = {"token": MASK}


@pytest.mark.parametrize(
    ("stored", "typed", "saved"),
    [
        ([A, B], [server("b")], [B]),
        ([A, B], [server("b"), server("a")], [B, A]),
        ([A, B], [server("x", "X"), server("a"), server("b")], [server("x", "X"), A, B]),
        ([A, B], [server("a"), server("b2")], [A, server("b2", "B")]),
        ([A, B], [server("a"), server("b", "new")], [A, server("b", "new")]),
        ([A, B, C], [server("c"), server("a2"), server("b")], [C, server("a2"), B]),
        ([A, B], [server("b2")], [server("b2")]),
        ([A, B], [server("a"), server("a")], [A, server("a", "B")]),
        ([A], [server("a"), server("a")], [A, server("a")]),
        (TWINS, [MASKED, MASKED], TWINS),
        (TWINS, [MASKED], [MASKED]),
        (TWINS, [MASKED, {"token": "new"}], [TWINS[0], {"token": "new"}]),
        ([[A], [B]], [[server("b")], [server("a")]], [[B], [A]]),
        ("no list", [server("a")], [server("a")]),
    ],
)
def test_masked_secret_in_a_list_is_restored_only_to_its_own_entry(
    stored: Any, typed: list[Any], saved: list[Any]
):
    assert unmask({"servers": typed}, {"servers": stored}) == {"servers": saved}


def test_a_mask_without_a_stored_value_is_found():
    assert list(left_masked(unmask({"a": [{"token": MASK}], "b": MASK}, {}))) == ["a[0].token", "b"]
