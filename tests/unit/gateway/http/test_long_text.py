import json
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.long_text import (
    PIECE_BYTES,
    LongText,
    decode_json_string,
    decode_percent,
    decode_plain,
)

Decode = Callable[[memoryview], Iterator[bytes]]


def decoded(raw: bytes, decode: Decode) -> bytes:
    return b"".join(LongText(memoryview(raw), decode).pieces())


def in_json(text: str, *, ascii_only: bool = True) -> bytes:
    return json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1]


def all_escaped(text: str, pattern: bytes) -> bytes:
    return b"".join(pattern % byte for byte in text.encode())


TEXTS = ["", "a", "ä+ %", "\\", '\\"\\', "a" * (PIECE_BYTES - 1) + "%+ä\\" * 5, "\\n" * PIECE_BYTES, "%" * 70_000]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[-4:])
def test_a_text_is_decoded_as_a_whole_however_it_is_cut(text: str):
    assert decoded(text.encode(), decode_plain).decode() == text
    assert decoded(quote_plus(text).encode(), decode_percent).decode() == text
    assert decoded(all_escaped(text, b"%%%02x"), decode_percent).decode() == text
    assert decoded(in_json(text), decode_json_string).decode() == text
    assert decoded(b"a" + in_json(text), decode_json_string).decode() == f"a{text}"


@given(st.text(alphabet='a"\\/\n\x1fü😀%+ ', max_size=40).map(lambda text: text * 50))
def test_any_text_is_decoded(text: str):
    assert decoded(quote(text).encode(), decode_percent).decode() == text
    assert decoded(in_json(text), decode_json_string).decode() == text


@given(st.lists(st.sampled_from(["%", "4", "f", "A", "g", "%41", "%fF", "ü", "=", "%%"]), max_size=30).map("".join))
def test_escape_sequences_are_decoded_as_python_decodes_them(text: str):
    assert decoded(text.encode(), decode_percent) == unquote_to_bytes(text)


def test_invalid_escape_sequences_are_refused_in_json_and_kept_in_forms():
    for raw in (rb"\x", rb"\u12", b"\\", b"\n", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            decoded(raw, decode_json_string)
    for raw in (b"%", b"%4", b"%zz", b"a%"):
        assert decoded(raw, decode_percent) == raw


def test_pieces_are_short():
    for raw in (b"a" * 10**6, b"\\u0041" * 10**5, b"\\n" * 10**5, b"a\\n" * 10**5, b"%41" * 10**5):
        for decode in (decode_plain, decode_percent, decode_json_string):
            assert max(map(len, decode(memoryview(raw)))) <= PIECE_BYTES


def test_a_message_shows_the_beginning_of_a_text():
    assert repr(LongText(memoryview(b"a" * 10**6), decode_plain)) == f"'{'a' * 30}…'"
