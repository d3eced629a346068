import contextlib
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.rest.rapidjson_compat import JsonError, _Reader, format_value, parse

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | FINITE | TEXT,
    lambda children: st.lists(children) | st.dictionaries(TEXT, children),
    max_leaves=20,
)


@given(VALUES)
def test_valid_json_is_parsed_like_python_does(value):
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=3).encode()) == value


@given(VALUES)
def test_the_slow_parser_agrees_with_python(value):
    assert _Reader(json.dumps(value)).document() == value
    assert _Reader(json.dumps(value, ensure_ascii=False, indent=3)).document() == value


@given(st.lists(INTEGERS | FINITE))
def test_an_error_after_a_long_list_has_the_right_offset(numbers):
    text = json.dumps(numbers)[:-1] + ("," if numbers else "") + "oops]"
    with pytest.raises(JsonError) as error:
        parse(text.encode())
    assert str(error.value) == f"Invalid value. at offset: {text.index('oops')}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1} x', {"a": 1}),
        (b'{"a": 1}{"a": 2}', {"a": 1}),
        (b'{"a": 1}\0', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'{"a": Inf, "a": 2}', {"a": math.inf}),
        (b" \t\r\n[1]", [1]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[NaN, Infinity, -Infinity]", [math.nan, math.inf, -math.inf]),
        (b"[-NaN, Inf, -Inf]", [math.nan, math.inf, -math.inf]),
        (b'["\xff\xfe"]', ["\udcff\udcfe"]),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b'["\\u00e9\\/\\n"]', ["\u00e9/\n"]),
        (b'[Inf, {}, [], -0, 1E+2, 1.5e-3, true, null, "\\t"]', [math.inf, {}, [], 0, 100.0, 0.0015, True, None, "\t"]),
    ],
)
def test_what_rapidjson_accepts_is_parsed(text, value):
    assert repr(parse(text)) == repr(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The document is empty"),
        (b"    ", "The document is empty. at offset: 4"),
        (b"hello", "Invalid value. at offset: 0"),
        (b"[nan]", "Invalid value. at offset: 2"),
        (b"[tru]", "Invalid value. at offset: 4"),
        (b"[+1]", "Invalid value. at offset: 1"),
        (b"[.5]", "Invalid value. at offset: 1"),
        (b"[1.0,]", "Invalid value. at offset: 5"),
        (b"[", "Invalid value. at offset: 1"),
        (b"[5.]", "Miss fraction part in number. at offset: 3"),
        (b"[5e]", "Miss exponent in number. at offset: 3"),
        (b"[" + b"9" * 400 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b"[1e400]", "Number too big to be stored in double. at offset: 1"),
        (b"[01]", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"[1.0", "Missing a comma or ']' after an array element. at offset: 4"),
        (b"[1\0]", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{'a':1}", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1', "Missing a comma or '}' after an object member. at offset: 6"),
        (b'["a', "Missing a closing quotation mark in string. at offset: 3"),
        (b'["a\n"]', "Invalid escape character in string. at offset: 3"),
        (b'["\\x"]', "Invalid escape character in string. at offset: 2"),
        (b'["\\u12"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud83d"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["\\ud83d\\u0041"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["\\ude00"]', "The surrogate pair in string is invalid. at offset: 2"),
        ('["é", oops]'.encode(), "Invalid value. at offset: 7"),
        (b"[" * 100_000, "Nested too deeply"),
        (b"[Inf," * 100_000, "Nested too deeply"),
    ],
)
def test_errors(text, message):
    with pytest.raises(JsonError) as error:
        parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ('a"é', '"a\\"é"'),
        ([1, [2, "a"]], '[1, [2, "a"]]'),
        ({}, "{}"),
        ({"a": [{"b": 1}]}, '{\n    "a": [{\n            "b": 1\n        }]\n}'),
        ([[{"a": {"b": 1}}]], '[[{\n            "a": {\n                "b": 1\n            }\n        }]]'),
        (1.0, "1.0"),
        (100.0, "100.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1234.5678, "1234.5678"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.5e300, "1.5e300"),
        (0.000001, "0.000001"),
        (1.25e-7, "1.25e-7"),
        (math.nan, ""),
        (-math.inf, ""),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63) - 1, "-9223372036854776000.0"),
    ],
)  # fmt: skip
def test_values_are_formatted_like_rapidjson_does(value, text):
    assert format_value(value) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(lambda n: " " * n, id="spaces"),
        pytest.param(lambda n: "[" + "\n" * n + "1, NaN]", id="spaces in a list"),
        pytest.param(lambda n: "1" * n, id="digits"),
        pytest.param(lambda n: ("1" * 299 + " ") * (n // 300), id="numbers of 299 digits"),
        pytest.param(lambda n: "[" + ",".join(["1", "NaN"] * (n // 6)) + "]", id="numbers in turn"),
        pytest.param(lambda n: '["' + "\\\\" * (n // 2) + '", NaN]', id="escapes"),
        pytest.param(lambda n: "[" * n, id="lists in lists"),
        pytest.param(lambda n: "{" + '"a":NaN,' * (n // 8) + '"a":1}', id="members of one name"),
    ],
)
def test_the_cost_of_parsing_is_linear(text):
    def cpu_s(size):
        body = text(size).encode()
        times = []
        for _ in range(3):
            started_s = time.thread_time()
            with contextlib.suppress(JsonError):
                parse(body)
            times.append(time.thread_time() - started_s)
        return min(times)

    assert cpu_s(800_000) < 8 * max(cpu_s(200_000), 0.001)


def test_a_long_value_is_cut_off_in_messages():
    nested = {}
    for _ in range(900):
        nested = {"a": nested, "b": [1, 2]}

    assert len(format_value(nested)) < 300_000
    assert format_value(nested).endswith("...")
    assert format_value(["x" * 10**6]).endswith("xxx...")
