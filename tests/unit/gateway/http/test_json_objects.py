import gzip
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequestError
from gateway.http.json_objects import MAX_SHORT_BYTES, JsonLimits, parse_json_object
from gateway.http.long_text import LONG_TEXT_BYTES, LongText

LIMITS = JsonLimits(max_depth=5, max_values=100)
LONG = "a" * LONG_TEXT_BYTES


def parse(document: object, *, ascii_only: bool = True) -> dict[str, object]:
    return parse_json_object(json.dumps(document, ensure_ascii=ascii_only).encode(), LIMITS)


def value_of(text: object) -> str:
    assert isinstance(text, LongText)
    return b"".join(text.pieces()).decode()


TEXTS = st.text(alphabet='a"\\/\n{[:,ü😀', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=3), st.booleans())
def test_an_object_is_parsed_as_python_parses_it(document: dict[str, object], ascii_only: object):
    text = json.dumps(document, ensure_ascii=bool(ascii_only)).encode()
    generous = JsonLimits(max_depth=20, max_values=1000)

    assert parse_json_object(text, generous) == document
    assert parse_json_object(b"\xef\xbb\xbf " + text + b"\n", generous) == document


@given(TEXTS, st.booleans())
def test_a_long_text_stays_in_the_body(text: str, ascii_only: object):
    parsed = parse({"url": text, "image": text + LONG, "instances": [{"image": LONG}]}, ascii_only=bool(ascii_only))

    assert parsed["url"] == text
    assert value_of(parsed["image"]) == text + LONG
    assert [value_of(item["image"]) for item in parsed["instances"]] == [LONG]


def test_a_long_name_is_a_long_text():
    (name,) = parse({LONG: 1})

    assert value_of(name) == LONG


def test_no_text_of_the_client_stands_for_a_long_one():
    """Otherwise an image could be sent once and counted many times."""
    prefix = len('{"image": ')
    texts = [str(prefix), f"{prefix}", "0", "", "None"]

    parsed = parse({"image": LONG, "instances": [{"image": text} for text in texts]})

    assert [item["image"] for item in parsed["instances"]] == texts


def test_long_texts_within_lists_stay_in_the_body():
    parsed = parse({"data": [LONG, "short", [LONG + "a", 1]]})

    first, short, (nested, number) = parsed["data"]
    assert (value_of(first), short, value_of(nested), number) == (LONG, "short", LONG + "a", 1)


NUMBERS = st.lists(st.lists(st.integers(-9, 99) | st.sampled_from([0.5, 1e-9]), max_size=3), max_size=3)
LONG_NUMBERS = st.tuples(NUMBERS, st.just([[0] * LONG_TEXT_BYTES]), NUMBERS).map(
    lambda parts: [*itertools.chain(*parts)]
)


def parse_with_numbers(text: bytes) -> dict[str, object]:
    return parse_json_object(
        text, JsonLimits(max_depth=20, max_values=1000), make_numbers=lambda view: json.loads(bytes(view))
    )


@given(st.dictionaries(TEXTS, VALUES | LONG_NUMBERS | st.lists(st.dictionaries(TEXTS, LONG_NUMBERS, max_size=2))))
def test_long_lists_of_numbers_are_made_by_the_caller(document: dict[str, object]):
    assert parse_with_numbers(json.dumps(document).encode()) == document
    assert parse_with_numbers(json.dumps(document, indent=1).encode()) == document


def test_numbers_within_a_text_are_a_text():
    text = json.dumps([1] * LONG_TEXT_BYTES)

    parsed = parse_with_numbers(json.dumps({"a": text, "b": f'"{text}'}).encode())

    assert [value_of(parsed[name]) for name in "ab"] == [text, f'"{text}']


@pytest.mark.parametrize("value", ['[[NUMBERS], "a"]', '[{"a": 1}, NUMBERS', "[NUMBERS]]", "NUMBERS]", "[NUMBERS"])
def test_numbers_that_are_not_a_list_of_their_own_count_as_values(value: str):
    numbers = ",".join("1" * LONG_TEXT_BYTES)

    with pytest.raises(BadRequestError):
        parse_json_object(f'{{"a": {value.replace("NUMBERS", numbers)}}}'.encode(), LIMITS, make_numbers=memoryview)


REFUSED = {
    "the string that starts at byte 9 does not end. Send all of it": f'{{"image":"{LONG}',
    "the string that starts at byte 1 does not end": '{"url\\": 1',
    "at byte 1037, a comma or the end of the object or list is expected; found '\"'.": f'{{"image":"{LONG}a" "url":1}}',
    "it is not UTF-8 text, see byte 1.": gzip.compress(b'{"url": "x"}'),
    'at byte 1, a name in double quotes is expected; found "\'".': "{'url': 1}",
    "at byte 1, a value is expected; found 'o'.": "[object Object]",
    "at byte 7, a value is expected; found '}'.": '{"url":}',
    "at byte 7, a value is expected; it ends too early.": '{"url":',
    "at byte 6, a colon is expected; found '1'.": '{"url"1}',
    "at byte 13, a string contains a line break": '{"url": "grü\n"}',
    "at byte 9, a backslash begins no valid escape sequence": '{"url": "\\x"}',
    "at byte 11, something follows the end of the object; found '{'.": '{"url": 1} {}',
    "a number has too many digits.": '{"top_k": ' + "9" * 5000 + "}",
    "it is not UTF-8 text. Send it in UTF-8": '{"url": "x"}'.encode("utf-16"),
    "it is not UTF-8 text, see byte 9": b'{"url": "\xff"}',
    "it is not UTF-8 text, see byte 9.": b'{"url": "\xff", "image": "%b"}' % LONG.encode(),
    "it is not UTF-8 text, see byte 1047.": b'{"image": "%ba", "url": "\xff"}' % LONG.encode(),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_json_is_refused_with_the_reason(reason: str):
    body = REFUSED[reason]

    with pytest.raises(BadRequestError, match=re.escape(f"The body is not valid JSON: {reason}")):
        parse_json_object(body.encode() if isinstance(body, str) else body, LIMITS)


def test_a_list_of_numbers_is_no_name():
    body = '{"parameters": {[NUMBERS]: 1}}'.replace("NUMBERS", ",".join("1" * LONG_TEXT_BYTES))

    with pytest.raises(BadRequestError, match=r"at byte 16, a name in double quotes is expected; found '\['"):
        parse_json_object(body.encode(), JsonLimits(5, 10_000), make_numbers=memoryview)


def test_only_long_texts_may_take_megabytes():
    image = b'{"image": "%b"' % (b"a" * MAX_SHORT_BYTES)
    assert len(value_of(parse_json_object(image + b" " * 1000 + b"}", LIMITS)["image"])) == MAX_SHORT_BYTES

    for filling in (b" ", b"1", b"[", b"\\"):
        with pytest.raises(BadRequestError, match=r"more than 524288 bytes in addition to its images"):
            parse_json_object(image + filling * MAX_SHORT_BYTES, LIMITS)
