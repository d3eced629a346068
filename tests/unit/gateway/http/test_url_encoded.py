from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequestError
from gateway.http.long_text import LONG_TEXT_BYTES, LongText
from gateway.http.url_encoded import parse_url_encoded


def fields(body: bytes) -> list[tuple[object, object]]:
    return list(parse_url_encoded(body).items(multi=True))


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=5)), max_size=4))
def test_any_fields_are_parsed_as_they_were_written(pairs: list[tuple[str, str]]):
    assert sorted(fields(urlencode(pairs).encode())) == sorted(pairs)


@given(
    st.lists(st.sampled_from(["&", "=", "+", "%", "%4", "%41", "%zz", "a", "ü", "=&", "%f1"]), max_size=8).map("".join)
)
def test_every_form_is_parsed_as_python_parses_it(text: str):
    assert sorted(fields(text.encode())) == sorted(parse_qsl(text, keep_blank_values=True))


def test_a_body_that_is_not_text_has_no_fields():
    assert fields(b"\xff\xd8\xff\xe0&a=1") == []
    assert fields(b"image=\xff\xd8") == []


def test_more_fields_than_the_limit_are_refused():
    assert list(parse_url_encoded(b"a=1&b=2&c=3", max_fields=3)) == ["a", "b", "c"]

    with pytest.raises(BadRequestError, match="more than 3 parts"):
        parse_url_encoded(b"a=1&b=2&c=3&d", max_fields=3)


def test_a_text_too_long_for_anything_but_an_image_stays_in_the_body():
    value = "ä+ %" * LONG_TEXT_BYTES

    (_, long), (_, short) = fields(f"image={quote(value)}&url={'b' * LONG_TEXT_BYTES}".encode())

    assert isinstance(long, LongText)
    assert b"".join(long.pieces()).decode() == value
    assert short == "b" * LONG_TEXT_BYTES
