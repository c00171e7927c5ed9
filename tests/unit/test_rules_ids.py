"""Container IDs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from pyrunc.errors import InvalidId, StateError
from pyrunc.state.ids import check_id

PHRASE = "invalid container ID format: "


@pytest.mark.parametrize("id", ["a", "0", "a.b_c+d-e", "...", ".hidden", "-x", "A" * 255, "e6480ef4524e"])
def test_good(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", "/", "a b", "a\n", "a\0", "é", "a:b", "a@b", '"', "a" * 256, "\udc80", "\u0661"]
)
def test_bad(id: str) -> None:
    with pytest.raises(InvalidId) as caught:
        check_id(id)
    assert isinstance(caught.value, StateError)
    assert json.loads(caught.value.message.removeprefix(PHRASE)) == id
    assert caught.value.message.isascii() and caught.value.message.isprintable()


@given(st.text(max_size=8))
def test_what_passes_is_one_harmless_name(id: str) -> None:
    try:
        check_id(id)
    except InvalidId:
        return
    assert id.isascii() and id.isprintable() and not set(id) & set("/ :;\\\"'$&") and id not in ("", ".", "..")
