"""The form of API keys, and how they come in a handshake or a header. No database."""

import base64
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.accounts.api_keys import new_key, prefix_of
from chat.protocol import Handshake, Refused, is_key, negotiate

KEY = "netra_4f9aZk01_0123456789abcdefghijklmnopqrstuv00OsXi"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMSJ9.c2ln-_ature"


def offering(*offers: str) -> list[tuple[bytes, bytes]]:
    return [(b"sec-websocket-protocol", ", ".join(offers).encode())]


def authorized(value: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", value.encode("latin-1"))]


def test_new_key_has_the_form_and_its_prefix():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert re.fullmatch(r"netra_[a-zA-Z0-9]{8}_[a-zA-Z0-9]{38}", key)
        assert prefix_of(key) == key[:14]


def test_checksum_is_the_crc_32_in_base_62():
    """A scanner of secrets must be able to compute it: digits, lower case, upper case, most significant first."""
    assert prefix_of(KEY) == "netra_4f9aZk01"


@given(st.integers(min_value=0, max_value=52), st.sampled_from(string.digits + string.ascii_letters + "_- "))
def test_a_key_with_one_wrong_character_is_refused(place: int, character: str) -> None:
    mistyped = KEY[:place] + character + KEY[place + 1 :]
    assert (prefix_of(mistyped) is None) == (mistyped != KEY)


@given(st.integers(min_value=0, max_value=51))
def test_a_key_with_two_characters_exchanged_is_refused(place: int) -> None:
    mistyped = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]
    assert (prefix_of(mistyped) is None) == (mistyped != KEY)


@pytest.mark.parametrize(
    "given", ["", "netra_", KEY[:-1], KEY + "0", KEY.upper(), KEY + "\n", f" {KEY}", JWT, "é" * 53]
)
def test_prefix_of_what_is_no_key_is_none(given):
    assert prefix_of(given) is None


def test_a_key_is_not_taken_for_a_jwt_nor_a_jwt_for_a_key():
    assert is_key(KEY)
    assert not is_key(JWT)
    assert not is_key(f"netra_{JWT}")


# ---- The handshake -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "selected", "token"),
    [
        (authorized(f"Bearer {KEY}"), None, KEY),
        (authorized(f"bearer {KEY}"), None, KEY),
        (authorized(f"BEARER \t {KEY}  "), None, KEY),
        (offering(f"bearer.{KEY}"), f"bearer.{KEY}", KEY),
        (offering("graphql-ws", f"bearer.{KEY}"), f"bearer.{KEY}", KEY),
        (offering("jwt-auth", f"bearer.{KEY}"), "jwt-auth", KEY),
        (offering(f"bearer.{KEY}", "jwt-auth"), "jwt-auth", KEY),
        (offering("jwt-auth") + authorized(f"Bearer {KEY}"), "jwt-auth", KEY),
        (offering(f"bearer.{KEY}", f"jwt.{JWT}"), f"bearer.{KEY}", KEY),
        (offering(f"jwt.{JWT}", f"bearer.{KEY}"), f"jwt.{JWT}", JWT),
        (offering(f"bearer.{KEY}") + authorized(f"Bearer {JWT}"), f"bearer.{KEY}", JWT),
    ],
)
def test_negotiate_selects_a_key_only_where_it_must(headers, selected, token):
    assert negotiate(headers) == Handshake(selected, token)


@pytest.mark.parametrize(
    "headers",
    [
        offering(f"jwt.{KEY}"),
        offering("jwt-auth", f"jwt.{KEY}"),
        offering(f"jwt-auth.{KEY}"),
        offering(KEY),
        offering("bearer", KEY),
        offering("bearer." + base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")),
        offering(f"bearer.{KEY}", f"bearer.{KEY}"),
        offering("graphql-ws") + authorized(f"Bearer {KEY}"),
        authorized(f'Bearer "{KEY}"'),
        authorized(f"Bearer Bearer {KEY}"),
        authorized(f"Bearer {KEY}, Bearer {KEY}"),
        authorized(f"Bearer {KEY[:20]} {KEY[20:]}"),
        authorized(f"Bearer {KEY}."),
        authorized(f"Bearer <{KEY}>"),
        authorized(f"Bearer\xa0{KEY}") + offering("graphql-ws"),
    ],
)
def test_negotiate_refuses_a_key_in_another_place_or_dress(headers):
    with pytest.raises(Refused) as refused:
        negotiate(headers)
    assert KEY not in refused.value.reason


def test_a_handshake_does_not_print_its_key():
    assert KEY not in repr(negotiate(offering("jwt-auth", f"bearer.{KEY}")))
