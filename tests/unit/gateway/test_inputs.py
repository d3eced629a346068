import base64
import io
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import encode_multipart

from gateway.classify import Link, Upload
from gateway.errors import BadRequestError, ContentTypeError
from gateway.inputs import Question, parse

PICTURE = bytes(range(256)) * 3 + b"\xfb\xff"  # its base64 has a + and a /
TEXT = base64.b64encode(PICTURE).decode()
URL = "https://photos.example/cat.jpg"

Ask = Callable[..., Question]


@pytest.fixture
def ask(app: Flask) -> Ask:
    """Parse a POST that is told as for `werkzeug.test.EnvironBuilder`."""

    def ask(**told: Any) -> Question:
        with app.test_request_context("/api/v1/predict", method="POST", **told):
            try:
                return parse(request._get_current_object())  # type: ignore[attr-defined]  # a proxy's own method
            finally:
                request.close()

    return ask


def part(data: bytes = PICTURE, filename: str = "cat.jpg") -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), filename


def chunked(body: bytes, content_type: str) -> dict[str, Any]:
    """Make a body that comes without a length, as gunicorn hands it on."""
    environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    return {
        "content_type": content_type,
        "headers": {"Transfer-Encoding": "chunked"},
        "environ_overrides": environ,
    }


def multipart(**fields: Any) -> dict[str, Any]:
    files = {name: FileStorage(*value) for name, value in fields.items() if isinstance(value, tuple)}
    boundary, body = encode_multipart(fields | files)
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


# Multipart


@pytest.mark.parametrize("field", ["image", "file"])
def test_a_multipart_file_part(ask: Ask, field: str):
    assert ask(data={field: part()}) == Question(Upload(PICTURE), None)


def test_a_file_larger_than_what_is_kept_in_memory(ask: Ask):
    large = os.urandom(700_000)
    assert ask(**multipart(image=part(large))).source == Upload(large)


@pytest.mark.parametrize("field", ["image", "image_base64"])
def test_base64_in_a_multipart_text_part(ask: Ask, field: str):
    form = {field: TEXT, "other": part(filename="ignored.txt")}
    assert ask(data=form, content_type="multipart/form-data").source == Upload(PICTURE)


def test_base64_in_a_text_part_larger_than_werkzeugs_default_limit(ask: Ask):
    large = os.urandom(600_000)
    text = base64.b64encode(large).decode()
    assert len(text) > 500_000
    assert ask(**multipart(image=text)).source == Upload(large)


@pytest.mark.parametrize("field", ["url", "image_url"])
@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_url_in_a_form(ask: Ask, field: str, media_type: str):
    assert ask(data={field: URL}, content_type=media_type).source == Link(URL)


def test_base64_in_a_urlencoded_form(ask: Ask):
    assert ask(data={"image": TEXT}).source == Upload(PICTURE)


def test_a_browsers_untouched_file_field_counts_as_absent(ask: Ask):
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\n' + URL.encode() + b"\r\n--x--\r\n"
    assert ask(data=form, content_type="multipart/form-data; boundary=x").source == Link(URL)


def test_an_empty_file_is_told_by_its_name(ask: Ask):
    with pytest.raises(BadRequestError, match=r"The file 'cat\.jpg' is empty"):
        ask(data={"image": part(b"")})


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_boundary_carries_no_image(ask: Ask, content_type: str):
    with pytest.raises(BadRequestError, match="carries no image"):
        ask(data=b"--x\r\n\r\n--x--", content_type=content_type, headers={"Content-Type": content_type})


# JSON


@pytest.mark.parametrize("field", ["url", "image_url"])
def test_a_url_in_json(ask: Ask, field: str):
    assert ask(json={field: f" {URL}\n"}).source == Link(URL)


@pytest.mark.parametrize("field", ["image", "image_base64"])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        base64.urlsafe_b64encode(PICTURE).decode(),
        base64.urlsafe_b64encode(PICTURE).decode().rstrip("="),
        TEXT + "==",
        base64.encodebytes(PICTURE).decode(),
        TEXT[:76] + "\r\n\t " + TEXT[76:],
        f"data:image/png;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"DATA:image/svg+xml;charset=utf-8;BASE64,{TEXT}",
    ],
    ids=[
        "plain",
        "unpadded",
        "URL-safe",
        "URL-safe unpadded",
        "overpadded",
        "wrapped",
        "odd blanks",
        "data",
        "bare data",
        "DATA",
    ],
)
def test_base64_in_json_however_it_is_written(ask: Ask, field: str, text: str):
    assert ask(json={field: text}).source == Upload(PICTURE)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/ld+json"])
def test_json_under_its_several_names(ask: Ask, content_type: str):
    assert ask(data=json.dumps({"url": URL}), content_type=content_type).source == Link(URL)


def test_json_with_a_byte_order_mark(ask: Ask):
    body = b"\xef\xbb\xbf" + json.dumps({"url": URL}).encode()
    assert ask(data=body, content_type="application/json").source == Link(URL)


def test_what_older_systems_send(ask: Ask):
    assert ask(json={"image_base64": "", "image_url": URL}).source == Link(URL)
    assert ask(json={"image_base64": TEXT, "image_url": ""}).source == Upload(PICTURE)


def test_null_counts_as_absent(ask: Ask):
    assert ask(json={"image": None, "url": URL, "top_k": None}) == Question(Link(URL), None)


@pytest.mark.parametrize(
    "text", ["%%%", "a", "AAAAA", "AAA=AAAA", "QUJD=REVG", "grün", "data:text/plain,hello", "data:image/png;base64"]
)
def test_what_is_no_base64_is_refused_by_the_fields_name(ask: Ask, text: str):
    with pytest.raises(BadRequestError, match="The field 'image' is not valid base64"):
        ask(json={"image": text})


@pytest.mark.parametrize("field", ["url", "image_url", "image", "image_base64"])
@pytest.mark.parametrize("value", [5, 0, True, False, 1.5, [], ["x"], {}, {"b64": "x"}])
def test_a_field_of_another_type_is_refused(ask: Ask, field: str, value: Any):
    with pytest.raises(BadRequestError, match=f"The field '{field}' must be a string, not {type(value).__name__}"):
        ask(json={field: value})


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null", b"true", b'["url"]'])
def test_json_that_is_no_object_is_refused(ask: Ask, body: bytes):
    with pytest.raises(BadRequestError, match="must be an object"):
        ask(data=body, content_type="application/json")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b'{"url": }',
        b"{'url': 'x'}",
        b'{"url": "\xff\xfe"}',
        b"\x00\x00",
        b'{"top_k": ' + b"9" * 5000,
    ],
    ids=["open", "no JSON", "no value", "quotes", "no UTF-8", "zeros", "too many digits"],
)
def test_what_is_no_json_is_refused_with_the_place(ask: Ask, body: bytes):
    with pytest.raises(BadRequestError, match="The body is not valid JSON: "):
        ask(data=body, content_type="application/json")


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_json_that_is_nested_too_deeply_is_refused(ask: Ask, bracket: str):
    with pytest.raises(BadRequestError, match="nested too deeply"):
        ask(data=bracket * 100_000, content_type="application/json")


# Raw


@pytest.mark.parametrize(
    "media_type", ["image/jpeg", "image/png", "image/x-unheard-of", "IMAGE/PNG", "application/octet-stream"]
)
def test_the_bytes_themselves(ask: Ask, media_type: str):
    assert ask(data=PICTURE, content_type=media_type) == Question(Upload(PICTURE), None)


def test_a_body_without_length(ask: Ask):
    assert ask(**chunked(PICTURE, "image/png")).source == Upload(PICTURE)
    assert ask(**chunked(json.dumps({"url": URL}).encode(), "application/json")).source == Link(URL)
    assert ask(**chunked(b"url=https%3A%2F%2Fx%2F", "application/x-www-form-urlencoded")).source == Link("https://x/")


@pytest.mark.parametrize(
    ("media_type", "begin"),
    [
        ("image/png", b""),
        ("text/plain", b""),
        ("application/json", b'{"image": "'),
        ("application/x-www-form-urlencoded", b"image="),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n'),
    ],
)
def test_a_body_without_length_is_counted_all_the_same(ask: Ask, media_type: str, begin: bytes):
    with pytest.raises(RequestEntityTooLarge):
        ask(**chunked(begin + b"A" * 2_000_001, media_type))


@pytest.mark.parametrize("media_type", ["text/plain", "text/html", "application/pdf", "video/mp4", "nonsense"])
def test_a_body_of_another_kind_is_refused_by_its_name(ask: Ask, media_type: str):
    with pytest.raises(ContentTypeError, match=f"'{media_type}' is not accepted.*multipart/form-data"):
        ask(data=PICTURE, content_type=media_type)


def test_a_body_without_content_type_is_refused(ask: Ask):
    with pytest.raises(ContentTypeError, match="no Content-Type"):
        ask(data=PICTURE)


# None, or too many


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"json": {}},
        {"json": {"image": "", "url": "", "image_base64": "", "image_url": ""}},
        {"json": {"top_k": 3}},
        {"data": b"", "content_type": "application/json"},
        {"data": b" \n", "content_type": "application/json"},
        {"data": b"", "content_type": "image/png"},
        {"data": b"", "content_type": "text/plain"},
        {"data": {"image": ""}},
        {"data": {"image": ""}, "content_type": "multipart/form-data"},
        {"data": {"picture": part()}},
        {"query_string": {"url": URL}},
    ],
    ids=str,
)
def test_a_request_without_image_is_told_how_to_send_one(ask: Ask, told: dict[str, Any]):
    with pytest.raises(BadRequestError, match=r"carries no image.*multipart/form-data.*application/json"):
        ask(**told)


@pytest.mark.parametrize(
    "told",
    [
        {"json": {"url": URL, "image": TEXT}},
        {"json": {"url": URL, "image_url": URL}},
        {"json": {"image": TEXT, "image_base64": TEXT}},
        {"data": {"image": TEXT, "url": URL}},
        {"data": {"url": [URL, URL]}},
        {"data": {"url": [URL, URL]}, "content_type": "multipart/form-data"},
        {"data": {"image": [TEXT, TEXT]}},
    ],
    ids=lambda told: ",".join(map(str, next(iter(told.values())))),
)
def test_two_images_are_one_too_many(ask: Ask, told: dict[str, Any]):
    with pytest.raises(BadRequestError, match="carries 2 images; expected exactly one"):
        ask(**told)


def test_two_files_are_one_too_many(ask: Ask):
    for form in ({"image": [part(), part()]}, {"image": part(), "file": part()}, {"file": part(), "url": URL}):
        with pytest.raises(BadRequestError, match="carries 2 images"):
            ask(data=form)


# top_k


@pytest.mark.parametrize(
    "told",
    [
        {"json": {"url": URL, "top_k": 3}},
        {"json": {"url": URL, "top_k": "3"}},
        {"json": {"url": URL}, "query_string": {"top_k": "3"}},
        {"json": {"url": URL, "top_k": 4}, "query_string": {"top_k": "3"}},
        {"data": {"url": URL, "top_k": "3"}},
        {"data": {"url": URL, "top_k": "3"}, "content_type": "multipart/form-data"},
        {"data": PICTURE, "content_type": "image/png", "query_string": {"top_k": "003"}},
    ],
    ids=str,
)
def test_top_k_wherever_it_stands(ask: Ask, told: dict[str, Any]):
    assert ask(**told).top_k == 3


@pytest.mark.parametrize("told", [{"json": {"url": URL, "top_k": ""}}, {"json": {"url": URL, "top_k": None}}], ids=str)
def test_an_empty_top_k_counts_as_absent(ask: Ask, told: dict[str, Any]):
    assert ask(**told).top_k is None
    assert ask(json={"url": URL}, query_string={"top_k": ""}).top_k is None


@pytest.mark.parametrize("value", [0, -1, 1.5, 3.0, True, False, [3], {"k": 3}, "0", "-1", "1.5", "three", " 3", "٣"])
def test_a_top_k_that_is_no_count_is_refused(ask: Ask, value: Any):
    with pytest.raises(BadRequestError, match="top_k must be a whole number of at least 1, not "):
        ask(json={"url": URL, "top_k": value})


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "three", "+3", "9" * 10])
def test_so_is_one_in_the_query(ask: Ask, value: str):
    with pytest.raises(BadRequestError, match="top_k must be a whole number"):
        ask(json={"url": URL}, query_string={"top_k": value})


def test_a_wrong_value_is_quoted_in_short(ask: Ask):
    for value in ("x" * 100_000, ["x" * 1000] * 1000):
        with pytest.raises(BadRequestError) as caught:
            ask(json={"url": URL, "top_k": value})
        assert len(caught.value.detail) < 400


def test_a_wrong_value_may_be_nested_deeply(ask: Ask):
    deep = b"[" * 900 + b"]" * 900
    with pytest.raises(BadRequestError, match=r"top_k must be|nested too deeply"):
        ask(data=b'{"url": "x", "top_k": ' + deep + b"}", content_type="application/json")
