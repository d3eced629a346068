import base64
import functools
import gzip
import io
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import request as current_request
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.app import FORM_PARTS_BESIDE_IMAGES
from gateway.deadline import Deadline, Timings
from gateway.errors import BadRequestError, ContentTypeError, DeadlineExceededError, GatewayError, TooManyImagesError
from gateway.http.bodies import MULTIPART
from gateway.http.hints import FORM
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import unwrap
from gateway.http.request_parser import JSON_TYPES, MAX_TOP_K, RequestLimits, RequestParser
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageSource, ImageUrl
from gateway.prediction.predictor import PredictionOptions, PredictionRequest
from gateway.settings import Settings
from tests.support.multipart import encode, with_encoded_form
from tests.support.traced_memory import peak_bytes

IMAGE = bytes(range(256)) * 3 + b"\xfb\xff"  # its base64 has a + and a /
TEXT = base64.b64encode(IMAGE).decode()
URL = "https://photos.example/cat.jpg"

Parse = Callable[..., PredictionRequest]
Source = Callable[..., ImageSource]
DEFAULT_TOP_K = 5
MAX_BYTES = 2_000_000
MAX_IMAGES = 4
MAX_JSON_DEPTH = 5
MAX_JSON_VALUES = 100
MAX_IMAGES_OF_THE_APP = Settings().max_images
LIMITS = RequestLimits(MAX_IMAGES, JsonLimits(MAX_JSON_DEPTH, MAX_JSON_VALUES))


@pytest.fixture
def parse(make_app: Callable[..., Flask]) -> Parse:
    """Parse a POST request described by the arguments of `werkzeug.test.EnvironBuilder`."""
    app = make_app(max_body_bytes=MAX_BYTES)
    parser = RequestParser(LIMITS, default_top_k=DEFAULT_TOP_K)

    def parse(deadline: Deadline | None = None, **description: Any) -> PredictionRequest:
        with app.test_request_context("/api/v1/predict", method="POST", **with_encoded_form(description)):
            try:
                return parser.parse(
                    unwrap(current_request),
                    ModelTarget(),
                    deadline=deadline or Deadline.after(10),
                    request_id="id",
                    timings=Timings(),
                )
            finally:
                current_request.close()

    return parse


@pytest.fixture
def source(parse: Parse) -> Source:
    """Return the one image of a request that is not a batch."""

    def source(**description: Any) -> ImageSource:
        prediction_request = parse(**description)
        assert not prediction_request.is_batch
        (image,) = prediction_request.images
        return image

    return source


def content(prediction_request: PredictionRequest) -> tuple[list[Any], bool, PredictionOptions]:
    """Return what a request was parsed into: its images, whether they are a batch, and its options."""
    return list(prediction_request.images), prediction_request.is_batch, prediction_request.options


def refusal(parse: Parse, **description: Any) -> str:
    """Return the class and the message of the error that refuses a request."""
    try:
        return f"accepted: {content(parse(**description))}"
    except GatewayError as error:
        return f"{type(error).__name__}: {error.detail}"
    except RequestEntityTooLarge:
        return "RequestEntityTooLarge"


def part(data: bytes = IMAGE, filename: str = "cat.jpg") -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), filename


def chunked(body: bytes, content_type: str) -> dict[str, Any]:
    """Return a request whose body has no length, as gunicorn passes it on."""
    environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    return {
        "content_type": content_type,
        "headers": {"Transfer-Encoding": "chunked"},
        "environ_overrides": environ,
    }


def multipart(**fields: Any) -> dict[str, Any]:
    content_type, body = encode(fields)
    return {"data": body, "content_type": content_type}


# Forms


def test_a_file_in_a_form_is_the_image(parse: Parse):
    for field in ("image", "file"):
        parsed = content(parse(data={field: part()}))
        assert parsed == ([ImageBytes(IMAGE)], False, PredictionOptions(DEFAULT_TOP_K)), field


def test_a_file_larger_than_werkzeugs_memory_threshold_is_read_whole(source: Source):
    large = os.urandom(700_000)
    assert source(**multipart(image=part(large))) == ImageBytes(large)


def test_a_text_part_holds_base64(source: Source):
    for field in ("image", "image_base64"):
        assert source(data={field: TEXT}, content_type=MULTIPART) == ImageBytes(IMAGE), field


def test_a_text_part_larger_than_werkzeugs_default_limit_is_accepted(source: Source):
    large = os.urandom(600_000)
    text = base64.b64encode(large).decode()
    assert len(text) > 500_000
    assert source(**multipart(image=text)) == ImageBytes(large)


def test_a_form_may_hold_a_url(source: Source):
    for field in ("url", "image_url"):
        for media_type in (MULTIPART, FORM):
            assert source(data={field: URL}, content_type=media_type) == ImageUrl(URL), (field, media_type)


def test_a_text_part_named_file_holds_base64(source: Source, parse: Parse):
    """Whether a part is a file depends on its file name only."""
    assert source(**multipart(file=TEXT)) == ImageBytes(IMAGE)
    assert source(data={"file": TEXT}) == ImageBytes(IMAGE)
    batch = parse(data={"file": [TEXT, TEXT]}, content_type=MULTIPART)
    assert batch.images == [ImageBytes(IMAGE), ImageBytes(IMAGE)]


def nameless(data: bytes, headers: str = "", field: str = "image") -> dict[str, Any]:
    """Return a form whose part has no file name."""
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"\r\n{headers}\r\n'
    return {
        "data": head.encode() + data + b"\r\n--edge--\r\n",
        "content_type": "multipart/form-data; boundary=edge",
    }


def test_a_part_without_a_file_name_is_a_file_if_its_type_says_so(source: Source):
    for media_type in ("image/png", "application/octet-stream", "binary/octet-stream", "application/x-image"):
        for field in ("image", "file"):
            form = nameless(IMAGE, f"Content-Type: {media_type}\r\n", field)
            assert source(**form) == ImageBytes(IMAGE), (media_type, field)


def test_a_part_without_a_file_name_and_type_is_a_file_if_it_begins_like_an_image(source: Source):
    image = b"\x89PNG\r\n\x1a\n" + IMAGE

    assert source(**nameless(image)) == ImageBytes(image)
    assert source(**nameless(image, "Content-Type: text/plain\r\n")) == ImageBytes(image)


def test_a_text_part_with_the_type_of_an_image_may_hold_base64(source: Source):
    assert source(**nameless(TEXT.encode(), "Content-Type: image/png\r\n")) == ImageBytes(IMAGE)


def test_other_bytes_without_a_file_name_are_refused_with_a_hint(parse: Parse):
    for field in ("image", "file"):
        message = refusal(parse, **nameless(IMAGE, field=field))

        assert f"The field '{field}' is not valid base64. The bytes of a file need a part with a `filename`." in message


def test_the_content_of_a_file_may_be_in_base64_as_its_header_says(source: Source, parse: Parse):
    header = '; filename="a.png"\r\nContent-Transfer-Encoding: '
    form = nameless(base64.encodebytes(IMAGE))

    def encoded(encoding: str, data: bytes) -> dict[str, Any]:
        body = form["data"].replace(b'"image"', f'"image"{header}{encoding}'.encode())
        return {**form, "data": body.replace(base64.encodebytes(IMAGE), data)}

    assert source(**encoded("base64", base64.encodebytes(IMAGE))) == ImageBytes(IMAGE)
    assert source(**encoded("Base64", TEXT.encode())) == ImageBytes(IMAGE)
    assert source(**nameless(TEXT.encode(), "Content-Transfer-Encoding: base64\r\n")) == ImageBytes(IMAGE)
    for encoding in ("binary", "8bit", "7bit", "x-own"):
        assert source(**encoded(encoding, IMAGE)) == ImageBytes(IMAGE), encoding
    assert "but its content is not valid base64" in refusal(parse, **encoded("base64", IMAGE))
    assert "Accepted: binary, 8bit, 7bit, base64" in refusal(parse, **encoded("quoted-printable", IMAGE))


def test_a_text_part_named_file_counts_as_an_image(parse: Parse):
    with pytest.raises(BadRequestError, match="carries 2 images in parts of different names or kinds"):
        parse(data={"file": TEXT, "url": URL})
    with pytest.raises(BadRequestError, match="carries 2 images in parts of different names or kinds"):
        parse(data={"file": [part(), TEXT]}, content_type=MULTIPART)


# Forms that cost more than their size suggests


MAX_PARTS = MAX_IMAGES_OF_THE_APP + FORM_PARTS_BESIDE_IMAGES


def parts(count: int, headers: bytes = b"") -> dict[str, Any]:
    one = b'--edge\r\nContent-Disposition: form-data; name="url"\r\n' + headers + b"\r\n\r\n"
    return {"data": one * count + b"--edge--\r\n", "content_type": "multipart/form-data; boundary=edge"}


def fields(count: int) -> dict[str, Any]:
    return {"data": "&".join(["url="] * count), "content_type": FORM}


def test_a_form_with_very_many_fields_is_refused_before_it_is_parsed(parse: Parse):
    for request in (parts(20_000), fields(100_000)):
        assert f"more than {MAX_PARTS} parts" in refusal(parse, **request), request["content_type"]


def test_a_form_with_as_many_fields_as_the_limit_is_parsed(parse: Parse):
    for form in (parts, fields):
        assert "carries no image" in refusal(parse, **form(MAX_PARTS)), form
        assert "more than" in refusal(parse, **form(MAX_PARTS + 1)), form


def test_endless_headers_of_a_part_are_refused(parse: Parse):
    for name, headers in {
        "many": b"A: b\r\n" * 100_000,
        "long": b"A: " + b"b" * 9_000,
        "continued": b"A: b\r\n b\r\n" * 100_000,
        "other line breaks": b"\r" + b"A: b\r" * 2_000,
    }.items():
        message = refusal(parse, **parts(1, headers))
        assert "headers of a part of the form are longer than 8192 bytes" in message, name


def test_a_part_may_have_other_headers(parse: Parse):
    assert "carries no image" in refusal(parse, **parts(1, b"X-Own: " + b"b" * 8_000))


def test_a_urlencoded_form_may_hold_base64(source: Source):
    assert source(data={"image": TEXT}) == ImageBytes(IMAGE)


def test_a_file_field_left_empty_in_a_browser_counts_as_absent(source: Source):
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\n' + URL.encode() + b"\r\n--x--\r\n"
    assert source(data=form, content_type="multipart/form-data; boundary=x") == ImageUrl(URL)


def test_a_form_without_a_chosen_file_is_refused_with_what_is_missing(parse: Parse):
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\nContent-Type: application/octet-stream'
    option = '--x\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n3\r\n'
    for more in ("", option):
        body = f"{head}\r\n\r\n\r\n{more}--x--\r\n"
        with pytest.raises(BadRequestError, match=r"The part 'file' is empty: no file was chosen\.") as caught:
            parse(data=body, content_type="multipart/form-data; boundary=x")
        assert caught.value.members == {"field": "file"}


def test_a_file_that_is_sent_under_the_name_of_a_text_is_refused_with_the_right_name(parse: Parse):
    for name in ("url", "image_url", "image_base64"):
        for more in ({}, {"image": part()}):
            with pytest.raises(BadRequestError, match=f"The part '{name}' is a file: send it as `image`.") as caught:
                parse(**multipart(**more, **{name: part(PNG)}))
            assert caught.value.members == {"field": name}
    with pytest.raises(BadRequestError, match=r"The part 'top_k' is a file: expected a text\."):
        parse(**multipart(image=part(), top_k=part(PNG)))


def test_a_text_may_be_sent_as_a_file_as_javascript_sends_a_blob(source: Source, parse: Parse):
    long = IMAGE * 10
    assert source(**multipart(url=part(URL.encode(), "blob"))) == ImageUrl(URL)
    assert source(**multipart(image_base64=part(TEXT.encode(), "blob"))) == ImageBytes(IMAGE)
    assert source(**multipart(image_base64=part(base64.b64encode(long), "blob"))) == ImageBytes(long)
    assert parse(**multipart(image=part(), top_k=part(b"3", "blob"))).options.top_k == 3
    assert "top_k must be" in refusal(parse, **multipart(image=part(), top_k=part(b'"x"', "blob")))


def test_a_text_part_may_be_in_base64_as_its_header_says(parse: Parse):
    head = 'Content-Disposition: form-data; name="top_k"\r\nContent-Transfer-Encoding: '
    for encoding, text in (("base64", "Mw=="), ("BASE64 ; x", "Mw=="), ("8bit", "3")):
        body = f"--x\r\n{head}{encoding}\r\n\r\n{text}\r\n".encode() + FILE_PART + b"\r\n--x--"
        assert parse(data=body, content_type="multipart/form-data; boundary=x").options.top_k == 3, encoding
    body = f"--x\r\n{head}quoted-printable\r\n\r\n3\r\n".encode() + FILE_PART + b"\r\n--x--"
    message = refusal(parse, data=body, content_type="multipart/form-data; boundary=x")
    assert "The part 'top_k' has Content-Transfer-Encoding: quoted-printable. Accepted: binary" in message


def test_a_file_of_another_kind_is_a_file_without_a_file_name(source: Source):
    for content in (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", gzip.compress(IMAGE), b"PK\x03\x04\x14\0\x88"):
        assert source(**nameless(content)) == ImageBytes(content)


def test_an_empty_file_is_refused_with_its_name(parse: Parse):
    with pytest.raises(BadRequestError, match=r"The file 'cat\.jpg' is empty"):
        parse(data={"image": part(b"")})


def test_a_form_without_a_boundary_is_refused_with_what_to_do(parse: Parse):
    for content_type in (MULTIPART, f"{MULTIPART}; boundary="):
        request = {"data": b"--x\r\n\r\n--x--", "headers": {"Content-Type": content_type}}
        message = refusal(parse, content_type=content_type, **request)
        assert "The Content-Type has no boundary. Let your HTTP library set it" in message, content_type


FILE_PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + IMAGE
MALFORMED_FORMS = {
    FILE_PART[:-9]: "The form ends before its last boundary, --x--: ",
    FILE_PART + b"\r\n": "It was cut off, or its last line is missing. Send all of it.",
    FILE_PART + b"\r\n--x": "The form ends before its last boundary",
    FILE_PART + b"\r\n--x\r\n": "The form ends before its last boundary",
    FILE_PART[:40]: "The form ends within the headers of a part: 40 bytes arrived. It was cut off, or",
    FILE_PART + b"--x--\r\n": "The line break before the last boundary, --x--, is missing. Write CR LF",
    b"--x--\r\n": "The form has no parts with a content. Send multipart",
    FILE_PART.replace(b"--x", b"--y") + b"\r\n--y--": "The boundary in the Content-Type is x, but the form uses y.",
    b"\r\n" + FILE_PART.replace(b"--x", b"----x"): "but the form uses --x. Let your HTTP library set",
    b"--x\r\nContent-Type: image/png\r\n\r\n" + IMAGE + b"\r\n--x--": "A part of the form has no Content-Disposition.",
    b'{"image": ""}': "The body is not a multipart form with the boundary x: it is JSON.",
    b"image=AAAA": "The body is not a multipart form with the boundary x: it is plain text.",
}


@pytest.mark.parametrize("body", MALFORMED_FORMS, ids=range(len(MALFORMED_FORMS)))
def test_a_malformed_form_is_refused_with_the_reason(parse: Parse, body: bytes):
    message = refusal(parse, data=body, content_type="multipart/form-data; boundary=x")

    assert message.startswith("BadRequestError: ")
    assert MALFORMED_FORMS[body] in message


BOUNDARIES = ("----=_Part_0_1234.5678", "===============123==", "a:b", "a?b/c", "(x)", "a,b", "a'b", "[x]", "a@b", "ü")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_boundary_may_have_any_characters_with_and_without_quotes(source: Source, boundary: str):
    body = FILE_PART.replace(b"--x", b"--" + boundary.encode()) + b"\r\n--" + boundary.encode() + b"--\r\n"
    sent = boundary.encode().decode("latin-1")  # as a server passes headers on
    for parameter in (f"boundary={sent}", f'boundary="{sent}"', f"charset=utf-8; Boundary={sent} ; a=b"):
        form = {"data": body, "content_type": f"multipart/form-data; {parameter}"}
        assert source(**form) == ImageBytes(IMAGE), parameter


def test_quoted_characters_of_a_boundary_stand_for_themselves(source: Source):
    body = FILE_PART.replace(b"--x", b'--a"b\\;') + b'\r\n--a"b\\;--\r\n'

    form = {"data": body, "content_type": r'multipart/form-data; boundary="a\"b\\;"'}

    assert source(**form) == ImageBytes(IMAGE)


NAMES = (
    "schön.jpg".encode("latin-1"),
    "写真.jpg".encode("shift_jis"),
    "表".encode("shift_jis"),
    "照片.jpg".encode("gbk"),
    b"\xff",
)


@pytest.mark.parametrize("filename", NAMES)
def test_a_file_name_may_be_in_any_character_set(source: Source, filename: bytes):
    for disposition in (
        b'name="image"; filename="%b"',
        b'filename="%b"; name="image"',
        b'name="image"; filename=%b',
        b'name="image"; filename="%b"; filename*=UTF-8\'\'a.jpg',
    ):
        body = b"--x\r\nContent-Disposition: form-data; " + disposition % filename + b"\r\n\r\n" + IMAGE + b"\r\n--x--"
        assert source(data=body, content_type="multipart/form-data; boundary=x") == ImageBytes(IMAGE), disposition


# JSON


def test_json_may_hold_a_url(source: Source):
    for field in ("url", "image_url"):
        assert source(json={field: f" {URL}\n"}) == ImageUrl(URL), field


BASE64_VARIANTS = {
    "plain": TEXT,
    "unpadded": TEXT.rstrip("="),
    "URL-safe": base64.urlsafe_b64encode(IMAGE).decode(),
    "URL-safe unpadded": base64.urlsafe_b64encode(IMAGE).decode().rstrip("="),
    "overpadded": TEXT + "==",
    "wrapped": base64.encodebytes(IMAGE).decode(),
    "other whitespace": TEXT[:76] + "\r\n\t " + TEXT[76:],
    "whitespace before a data URI": f" \n data:image/png;base64,{TEXT}",
    "data URI with a name": f'data:image/png;name="a,b.png";base64, {TEXT}',
    "lines separated by blanks": " ".join(base64.encodebytes(IMAGE).decode().split()),
    "data URI": f"data:image/png;base64,{TEXT}",
    "data URI without type": f"data:;base64,{TEXT}",
    "data URI in capitals": f"DATA:image/svg+xml;charset=utf-8;BASE64,{TEXT}",
}


def test_every_variant_of_base64_is_accepted(source: Source):
    for field in ("image", "image_base64"):
        for name, text in BASE64_VARIANTS.items():
            assert source(json={field: text}) == ImageBytes(IMAGE), (field, name)


def test_json_is_accepted_under_each_of_its_media_types(source: Source):
    for content_type in ("application/json", "application/json; charset=utf-8", "application/ld+json"):
        assert source(data=json.dumps({"url": URL}), content_type=content_type) == ImageUrl(URL), content_type


def test_json_may_begin_with_a_byte_order_mark(source: Source):
    body = b"\xef\xbb\xbf" + json.dumps({"url": URL}).encode()
    assert source(data=body, content_type="application/json") == ImageUrl(URL)


def test_a_long_url_is_accepted(source: Source, parse: Parse):
    url = f"{URL}?{'ä' * 1000}&x={'/' * 900}"
    escaped = json.dumps({"url": url}).replace("/", "\\/")
    for request in ({"json": {"url": f" {url}\n"}}, {"data": {"url": url}}, multipart(url=url)):
        assert source(**request) == ImageUrl(url), request
    assert source(data=escaped, content_type="application/json") == ImageUrl(url)
    assert "not valid" in refusal(parse, data=escaped.replace("\\/", "\\x"), content_type="application/json")


def test_a_batch_may_have_many_small_images(parse: Parse):
    small = os.urandom(12_000)
    instances = [{"image": base64.b64encode(small).decode()}] * MAX_IMAGES

    assert parse(json={"instances": instances}).images == [ImageBytes(small)] * MAX_IMAGES


def test_an_empty_string_counts_as_absent(source: Source):
    assert source(json={"image_base64": "", "image_url": URL}) == ImageUrl(URL)
    assert source(json={"image_base64": TEXT, "image_url": ""}) == ImageBytes(IMAGE)


def test_null_counts_as_absent(parse: Parse):
    parsed = content(parse(json={"image": None, "url": URL, "top_k": None}))
    assert parsed == ([ImageUrl(URL)], False, PredictionOptions(DEFAULT_TOP_K))


def test_invalid_base64_is_refused_with_the_name_of_its_field(parse: Parse):
    for text, reason in {
        "%%%": "It has the character '%'; expected A-Z, a-z, 0-9, +, / and = only.",
        "grün": "It has the character 'ü'; expected",
        "AAAA\0": "It has the character 'U+0000'; expected",
        f"\xa0{TEXT}": "It has the character 'U+00A0'; expected",
        f"\ufeff{TEXT}": "It has the character 'U+FEFF'; expected",
        f"{TEXT[:40]}\u200b{TEXT[40:]}": "It has the character 'U+200B'; expected",
        "a": "It begins like base64, but was cut off",
        TEXT[:1001]: "It begins like base64, but was cut off or has other characters later: send all of it.",
        f"{TEXT},": "It begins like base64, but was cut off or has other characters later",
        "AAA=AAAA": "Something follows the `=` at its end",
        "QUJD=REVG": "Something follows the `=` at its end: send the base64 of one image.",
        "iVBORw0KGgo...": "It was shortened",
        f"{TEXT[:30]}…": "It was shortened, as programs do to show long texts: send all of it.",
    }.items():
        message = refusal(parse, json={"image": text})
        assert message.startswith(f"BadRequestError: The field 'image' is not valid base64. {reason}"), text


def test_a_file_that_was_read_as_text_is_named(parse: Parse):
    for image in (b"\xff\xd8\xff\xe0\0\x10JFIF", PNG, b"GIF89a\1\0", b"RIFF\0\1\0\0WEBPVP8 "):
        for text in (image.decode("latin-1"), image.decode(errors="replace")):
            assert "It is a file that was read as text: send its bytes in base64." in refusal(
                parse, json={"image": text}
            ), image


def test_a_fault_behind_the_prefix_of_a_data_uri_is_named(parse: Parse):
    prefix = "data:image/jpeg;base64,"
    for text, reason in {
        TEXT.replace("+", " "): "It has blanks between its digits",
        TEXT[:76] + "\\n" + TEXT[76:]: "It contains a backslash with n or r",
        TEXT.replace("+", "%2B"): "It is percent-encoded",
        TEXT[:1001]: "It begins like base64, but was cut off",
        prefix + TEXT: "It has the prefix of a data URI twice: send it once.",
    }.items():
        for field in ("image", "url"):
            message = refusal(parse, json={field: prefix + text})
            assert message.startswith(f"BadRequestError: The field '{field}' is not valid base64. {reason}"), text
    misplaced = refusal(parse, json={"image": f"data:image/jpeg;base64;charset=utf-8,{TEXT}"})
    assert "must be base64, and say so directly before its comma: data:image/jpeg;base64," in misplaced


MISTAKES = {
    URL: "It is a URL: send it as `url`.",
    "dog.jpg": "It is the name of a file: send its content. With curl, send a file by `-F image=@FILE`.",
    "@dog.jpg": "It is the name of a file",
    "/home/me/My dog.JPEG": "It is the name of a file",
    "file:///dog.jpg": "The gateway cannot open that address",
    "s3://bucket/dog.jpg": "The gateway cannot open that address",
    "blob:http://x/1": "The gateway cannot open that address",
    str(base64.b64encode(IMAGE)): "It begins with b'",
    TEXT[:76] + "\\n" + TEXT[76:]: "It contains a backslash with n or r instead of a line break",
    TEXT.replace("+", "%2B"): "It is percent-encoded: decode it first.",
    "[object Object]": "an object that JavaScript turned into text",
    "[object File]": "an object that JavaScript turned into text",
    "[137, 80, 78, 71]": "It is a list of numbers",
    '{"b64": "AAAA"}': "It is JSON: send only the base64 text.",
    "null": "a variable that was not set",
    f'"{TEXT}"': "It has quotation marks around it",
    "undefined": "a variable that was not set",
    "<html>": "It is an HTML page or XML.",
    "<svg xmlns='http://www.w3.org/2000/svg'>": "It is an HTML page or XML.",
    "<base64>": "It has the character '<'",
    "<Buffer ff d8 ff e0>": "It is how a program describes an object: send the content",
    "<_io.BufferedReader name='a.jpg'>": "It is how a program describes an object",
    "<PIL.JpegImagePlugin.JpegImageFile image mode=RGB>": "It is how a program describes an object",
    "www.example.com/a.jpg": "It looks like a URL: send it as `url`, with https:// in front.",
    "//example.com/a.jpg": "It looks like a URL",
    "ff d8 ff e0 00 10": "It is hexadecimal text",
    "data:text/plain,hello": "The data URI must be base64",
    "data:image/svg+xml;utf8,<svg/>": "The data URI must be base64",
    "data:image/png;base64": "The data URI is empty",
    "data:,": "The data URI is empty",
    "image/png;base64," + TEXT: "Put `data:image/jpeg;base64,` in front",
    TEXT.replace("+", " "): "It has blanks between its digits, which may have been `+`",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_usual_mistake_is_named(parse: Parse, text: str):
    for request in ({"json": {"image": text}}, multipart(image=text)):
        message = refusal(parse, **request)

        assert message.startswith("BadRequestError: The field 'image' is not valid base64. ")
        assert MISTAKES[text] in message


def test_an_empty_data_uri_is_refused(parse: Parse):
    for text in ("data:image/png;base64,", "  ", "data:;base64, \n"):
        assert "it is blank or an empty data URI" in refusal(parse, json={"image": text}), text


def test_a_data_uri_in_the_place_of_a_url_is_an_image(source: Source, parse: Parse):
    for field in ("url", "image_url"):
        for text in (f"data:image/png;base64,{TEXT}", f" DATA:;base64,{TEXT[:900]}"):
            data = base64.b64decode(text.partition(",")[2])
            for request in ({"json": {field: text}}, {"data": {field: text}}, multipart(**{field: text})):
                assert source(**request) == ImageBytes(data), request
    assert parse(json={"instances": [{"url": f"data:;base64,{TEXT}"}]}).images == [ImageBytes(IMAGE)]


def test_a_plus_that_a_form_has_lost_is_restored(source: Source):
    assert "+" in TEXT
    for field in ("image", "image_base64", "file"):
        for text in (TEXT, TEXT[:600] + TEXT[:424], f"data:image/png;base64,{TEXT}", TEXT.replace("+", "%2B", 1)):
            data = base64.b64decode(text.replace("%2B", "+").rpartition(",")[2])
            assert source(data=f"{field}={text}".encode(), content_type=FORM) == ImageBytes(data), (field, text)


def test_the_member_field_names_the_part_of_the_request(parse: Parse):
    def field_of(**description: Any) -> object:
        with pytest.raises(BadRequestError) as caught:
            parse(**description)
        return caught.value.members.get("field")

    assert field_of(json={"image": "%"}) == "/image"
    assert field_of(json={"url": URL, "topk": 1}) == "/topk"
    assert field_of(json={"url": URL, "a/b~": 1}) == "/a~1b~0"
    assert field_of(json={"url": URL, "top_k": 0}) == "/top_k"
    assert field_of(json={"image": 5}) == "/image"
    assert field_of(json={"url": URL}, query_string={"top_k": "0"}) == "top_k"
    assert field_of(json={"url": URL}, query_string={"topk": "1"}) == "topk"
    assert field_of(data={"image": "%"}) == "image"
    assert field_of(**multipart(image="%")) == "image"
    assert field_of(**multipart(image=part(b""))) == "image"
    assert field_of(json={"instances": []}) == "/instances"
    assert field_of(json={"url": URL, "image": TEXT}) == "/image"
    assert field_of(**multipart(url=URL, image=TEXT)) == "image"
    (error,) = parse(json={"instances": [{"url": URL, "image": TEXT}]}).images
    assert isinstance(error, BadRequestError)
    assert error.members == {"field": "/instances/0/image"}
    assert field_of(json={"url": URL, "n" * 101: 1}) is None
    assert field_of(data={"n" * 101: "1"}) is None
    assert field_of(data={"zzz": "1"}) == "zzz"
    items = [{"url": URL}, {"image": "%"}, 5, {"imag": ""}]
    errors = parse(json={"instances": items}).images[1:]
    assert [error.members["field"] for error in errors if isinstance(error, BadRequestError)] == [
        "/instances/1/image",
        "/instances/2",
        "/instances/3/imag",
    ]


def test_bytes_that_are_not_utf_8_get_the_hint_in_forms_only(parse: Parse):
    """A character may lie on both sides of the boundary between two pieces of a long text."""
    characters, replaced = "a" + "é" * 40_000, "\ufffd" * 40_000
    refused = "BadRequestError: The field 'image' is not valid base64. It has the character 'é'; "
    refused += "expected A-Z, a-z, 0-9, +, / and = only."

    assert refusal(parse, **multipart(image=characters)) == refused
    assert refusal(parse, data={"image": characters}, content_type=FORM) == refused
    assert refusal(parse, json={"image": characters}) == refused
    assert "a part with a `filename`" not in refusal(parse, json={"image": replaced})
    assert refusal(parse, **multipart(image=f"a{replaced}")).endswith("a part with a `filename`.")


def test_the_longest_url_is_accepted_however_it_is_escaped(source: Source):
    url = "http://a/" + "\U0001f600" * 2039
    for request in ({"json": {"url": url}}, {"data": {"url": url}, "content_type": FORM}, multipart(url=url)):
        assert source(**request) == ImageUrl(url)


def test_an_image_field_that_is_not_a_string_is_refused(parse: Parse):
    for field in ("url", "image_url", "image", "image_base64"):
        for value in (5, 0, True, False, 1.5, [], ["x"], {}, {"b64": "x"}):
            message = refusal(parse, json={field: value})
            expected = f"BadRequestError: The field '{field}' must be a string, not {JSON_TYPES[type(value)]}."
            assert message.startswith(expected)
    assert refusal(parse, json={"image": [1, 2]}).endswith("Send one file in base64, not its pixels.")
    assert refusal(parse, json={"url": {"url": URL}}).endswith("Send the text itself, not an object around it.")


def test_json_that_is_not_an_object_is_refused(parse: Parse):
    for body in (b"[]", b'"text"', b"5", b"null", b"true", b'["url"]'):
        assert "must be an object" in refusal(parse, data=body, content_type="application/json"), body


def test_malformed_json_is_refused_with_the_position(parse: Parse):
    for name, body in {
        "incomplete": b"{",
        "text": b"not json",
        "no value": b'{"url": }',
        "single quotes": b"{'url': 'x'}",
        "not UTF-8": b'{"url": "\xff\xfe"}',
        "too many digits": b'{"top_k": ' + b"9" * 5000,
    }.items():
        message = refusal(parse, data=body, content_type="application/json")
        assert message.startswith("BadRequestError: The body is not valid JSON: "), name


def test_json_that_is_not_utf_8_is_refused_with_the_position_of_the_byte(parse: Parse):
    message = refusal(parse, data=b'{"url": "\xff\xfe"}', content_type="application/json")

    assert message == "BadRequestError: The body is not valid JSON: it is not UTF-8 text, see byte 9."


def test_json_that_is_nested_too_deeply_is_refused(parse: Parse):
    for bracket in ("[", '{"a":'):
        too_deep = refusal(parse, data=bracket * (MAX_JSON_DEPTH + 1), content_type="application/json")
        at_the_limit = refusal(parse, data=bracket * MAX_JSON_DEPTH, content_type="application/json")

        assert "nested too deeply: at most 5 levels are accepted" in too_deep, bracket
        assert "not valid JSON: " in at_the_limit, bracket  # it is incomplete


def test_whitespace_and_brackets_within_strings_do_not_count_as_nesting(source: Source):
    document = {"image": TEXT, "top_k": None, "threshold": None}
    assert source(data=json.dumps(document, indent=40).encode(), content_type="application/json") == ImageBytes(IMAGE)
    assert source(json=document | {"image": f"data:image/png{'[{' * 50};base64,{TEXT}"}) == ImageBytes(IMAGE)


MANY_VALUES = {
    "objects": b'{"instances": [' + b"{}," * 200_000 + b"{}]}",
    "lists": b'{"instances": [' + b"[]," * 200_000 + b"[]]}",
    "strings": b'{"instances": [' + b'"",' * 200_000 + b'""]}',
    "numbers": b'{"instances": [' + b"1," * 200_000 + b"1]}",
    "escapes": b'{"instances": [' + b'"\\"",' * 100_000 + b'""]}',
    "UTF-16": ('{"instances": [' + "{}," * 100_000 + "{}]}").encode("utf-16"),
    "surrogates": ('{"\ud800": [' + "{}," * 100_000 + "{}]}").encode(errors="surrogatepass"),
    "open lists": b"[" * 200_000,
    "open objects": b'{"a":' * 200_000,
    "quotes": b'"' * 200_000,
    "empty strings": b'""' * 200_000,
}


def test_json_with_very_many_values_is_refused_before_it_is_parsed(parse: Parse):
    """As Python objects the values take up to 25 times as much memory as their text."""
    for name, body in MANY_VALUES.items():
        peak, message = peak_bytes(functools.partial(refusal, parse, data=body, content_type="application/json"))

        assert "more than 100 values" in message or "not valid JSON" in message, name
        assert peak < 8 * len(body), name


def test_base64_of_many_lines_counts_as_one_value(source: Source):
    large = os.urandom(600_000)
    lines = base64.encodebytes(large).decode()
    assert lines.count("\n") > 5_000
    assert source(json={"image": lines}) == ImageBytes(large)


def test_no_more_base64_is_decoded_once_the_deadline_has_passed(parse: Parse):
    large = "A" * 1_000_000
    for request in ({"json": {"instances": [{"image": large}]}}, {"data": {"image": large}}, multipart(image=large)):
        with pytest.raises(DeadlineExceededError):
            parse(deadline=Deadline.after(0), **request)


# Raw bytes


def test_the_body_may_be_the_image_itself(parse: Parse):
    types = ("image/jpeg", "image/png", "image/x-unheard-of", "IMAGE/PNG", "application/octet-stream")
    for media_type in (*types, "application/x-image", "binary/octet-stream"):
        parsed = content(parse(data=IMAGE, content_type=media_type))
        assert parsed == ([ImageBytes(IMAGE)], False, PredictionOptions(DEFAULT_TOP_K)), media_type


def test_a_body_may_be_chunked(source: Source):
    assert source(**chunked(IMAGE, "image/png")) == ImageBytes(IMAGE)
    assert source(**chunked(json.dumps({"url": URL}).encode(), "application/json")) == ImageUrl(URL)
    assert source(**chunked(b"url=https%3A%2F%2Fx%2F", FORM)) == ImageUrl("https://x/")


CHUNKED_BODIES = {
    "image/png": b"",
    "text/plain": b"",
    "application/json": b'{"image": "',
    FORM: b"image=",
    "multipart/form-data; boundary=x": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n',
}


def test_a_chunked_body_larger_than_the_limit_is_refused_whatever_its_type(parse: Parse):
    for media_type, start in CHUNKED_BODIES.items():
        message = refusal(parse, **chunked(start.ljust(MAX_BYTES + 1, b"A"), media_type))
        assert message == "RequestEntityTooLarge", media_type


def test_a_chunked_body_of_exactly_the_limit_is_read_whole(source: Source, parse: Parse):
    image = bytes(MAX_BYTES)

    assert source(**chunked(image, "image/png")) == ImageBytes(image)
    for media_type, start in CHUNKED_BODIES.items():
        message = refusal(parse, **chunked(start.ljust(MAX_BYTES, b"A"), media_type))
        assert message != "RequestEntityTooLarge", media_type


def test_an_unsupported_media_type_is_refused_with_its_name(parse: Parse):
    for media_type in ("text/plain", "text/html", "application/pdf", "video/mp4", "nonsense"):
        message = refusal(parse, data=IMAGE, content_type=media_type)
        assert message.startswith(f"ContentTypeError: The media type '{media_type}' is not accepted. Send multipart/")


PNG = b"\x89PNG\r\n\x1a\n" + IMAGE


def test_an_image_is_recognised_whatever_its_media_type(source: Source):
    types = ("text/plain", "application/json", FORM, "application/x-own", MULTIPART, f"{MULTIPART}; boundary=x")
    for image in (PNG, b"\xff\xd8\xff\xe0\0\x10JFIF" + IMAGE, b"GIF89a" + IMAGE, b"BM" + IMAGE):
        for media_type in types:
            assert source(data=image, content_type=media_type) == ImageBytes(image), media_type
        assert source(data=image) == ImageBytes(image)


def test_a_text_that_begins_like_an_image_is_a_text(parse: Parse, source: Source):
    assert "no field 'BM'" in refusal(parse, data=b"BM=1", content_type=FORM)
    assert "The media type 'text/plain' is not accepted" in refusal(parse, data=b"GIF89a", content_type="text/plain")
    assert source(data={"image": TEXT, "top_k": "3"}) == ImageBytes(IMAGE)


OTHERS = {
    b"%PDF-1.7\n" + b"&" * 1000: "The body is a PDF, not {}. Send multipart/form-data with a part `image`",
    b"\xef\xbb\xbf" + PNG: "The body is a PNG with 3 other bytes before it, not {}. Send multipart",
    b'\x1f\x8b\x08\0"' + IMAGE: "The body is gzip data, not {}. Send",
    FILE_PART + b"&" * 1000: "The body is a multipart form, not {}. Send it as multipart/form-data, with the boundary",
    b"<a/>": "The body is an XML document, not {}. Send",
    b"<!doctype html><a href='?a=1&b=[[[[[[[['>": "The body is an HTML page, not {}. Send",
    b"[object Object]": "not {}. Send JSON.stringify(object) as application/json.",
}


@pytest.mark.parametrize("body", OTHERS, ids=range(len(OTHERS)))
def test_what_is_sent_under_a_wrong_media_type_is_named(parse: Parse, body: bytes):
    for media_type, expected in (("application/json", "JSON"), (FORM, "a URL-encoded form")):
        message = refusal(parse, data=body, content_type=media_type)
        described = OTHERS[body].format(expected)
        named = described.partition(",")[0]  # bytes that are no text have no field either
        assert described in message or ("carries no image" in message and named in message), media_type


def test_a_list_without_a_field_is_named(parse: Parse):
    message = refusal(parse, data=b"[1]", content_type=FORM)

    assert message == "BadRequestError: The body is JSON, not a URL-encoded form. Send it as application/json."


def test_a_form_of_an_unknown_field_gets_the_nearest_name(parse: Parse):
    for name in ("img", "image[]", "imgae"):
        with pytest.raises(BadRequestError, match=r"There is no field '.*'\. Did you mean 'image'\?") as caught:
            parse(data=f"{name}={TEXT}".encode(), content_type=FORM)
        assert caught.value.members == {"field": name}
    assert "did you mean `-F`?" in refusal(parse, data=b"zzz=1", content_type=FORM)
    for url in (URL, f" {URL}?a=b", "https%3A%2F%2Fphotos.example%2Fcat.jpg"):
        message = refusal(parse, data=url.encode(), content_type=FORM)
        assert message.endswith(
            "The body is a URL without the name of a field. With curl, send it by `--data-urlencode url=…`."
        ), url


def test_base64_in_the_place_of_a_url_is_named(parse: Parse):
    for field in ("url", "image_url"):
        for request in ({"json": {field: TEXT}}, {"data": {field: TEXT}}, multipart(**{field: TEXT * 2})):
            message = refusal(parse, **request)
            assert message == f"BadRequestError: The field '{field}' is base64, not a URL: send it as `image`."


def test_quotes_that_a_shell_has_changed_are_named(parse: Parse):
    for body in (r"{\"url\": \"x\"}", "'{url:x}'", "{url: x}"):
        message = refusal(parse, data=body, content_type="application/json")
        assert "A shell may have kept or removed quotes" in message, body


def test_messages_show_characters_and_numbers_as_json_does(parse: Parse):
    for body, text in {
        b'{"url": "x", "top_k": "\\u0000a\\\\"}': "not 'U+0000a\\'.",
        b'{"url": "x", "top_k": NaN}': "not NaN.",
        b'{"url": "x", "top_k": -1e999}': "not -Infinity.",
        b'{"url": "x", "\\u00a0": 1}': "There is no member 'U+00A0'. Accepted",
        b'{"url": \\}': "found '\\'.",
        b"\xc2\xa0{}": "found 'U+00A0'.",
    }.items():
        assert text in refusal(parse, data=body, content_type="application/json"), body


def test_an_image_that_has_lost_its_zero_bytes_is_refused_with_the_reason(parse: Parse):
    """`curl -d @FILE` removes zero bytes, line feeds and carriage returns."""
    stripped = PNG.translate(None, b"\0\r\n")
    for media_type in (FORM, "image/png", "application/octet-stream", "text/plain"):
        message = refusal(parse, data=stripped, content_type=media_type)
        assert "Use `--data-binary @FILE`, or `-F image=@FILE`." in message, media_type


UNUSABLE = [
    ("text/plain", b'{"url": "x"}', "The body is JSON. Send it as application/json."),
    ("", b' {"url": "x"}', "The body has no Content-Type. The body is JSON. Send it as application/json."),
    ("text/plain", b"[object Object]", "JavaScript turned into text. Send JSON.stringify(object) as application/json."),
    ("text/plain", TEXT.encode(), 'The body is base64 text. Send it as {"image": "…"} in application/json.'),
    ("application/pdf", b"%PDF-1.7", "The media type 'application/pdf' is not accepted. The body is a PDF. Send multi"),
    ("text/plain", FILE_PART, "The body is a multipart form. Send it as multipart/form-data, with the boundary that"),
    (FORM, TEXT.encode(), "1028 bytes of application/x-www-form-urlencoded arrived, with base64 text but without the"),
    (FORM, b"foo=bar", "7 bytes of application/x-www-form-urlencoded arrived with 'foo'; did you mean `-F`?"),
    (
        FORM,
        b"\xff\xfe=1",
        "The request carries no image: 4 bytes of application/x-www-form-urlencoded arrived. Send mul",
    ),
    (FORM, b"image=", "6 bytes of application/x-www-form-urlencoded arrived with 'image' (empty). Send multipart"),
    (
        "application/json",
        b'{"top_k": 3}',
        "12 bytes of application/json arrived with 'top_k'. Send multipart/form-data",
    ),
    ("image/png", b"", "The request carries no image: its body is empty. Send multipart/form-data"),
]


@pytest.mark.parametrize(("content_type", "body", "message"), UNUSABLE)
def test_a_body_that_cannot_be_used_is_named(parse: Parse, content_type: str, body: bytes, message: str):
    assert message in refusal(parse, data=body, content_type=content_type)


# Content codings


def test_a_compressed_body_is_refused_before_it_is_read(parse: Parse):
    for coding in ("gzip", "GZIP", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "compress"):
        environ = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "10"}
        request = {"headers": {"Content-Encoding": coding}, "content_type": "image/png", "environ_overrides": environ}

        with pytest.raises(
            ContentTypeError, match=f"The body has Content-Encoding: {coding}. Only identity is"
        ) as caught:
            parse(**request)

        assert caught.value.accept_encoding == "identity"


class Unreadable(io.BytesIO):
    def read(self, _: int | None = -1, /) -> bytes:
        pytest.fail("the body was read")


def test_what_is_not_a_content_coding_is_ignored(source: Source):
    for coding in ("identity", "", "utf-8", "none", "binary"):
        request = {"data": PNG, "content_type": "image/png", "headers": {"Content-Encoding": coding}}
        assert source(**request) == ImageBytes(PNG), coding


def test_a_body_without_a_content_type_is_refused(parse: Parse):
    with pytest.raises(ContentTypeError, match="no Content-Type"):
        parse(data=IMAGE)


# No image, or too many


NO_IMAGE = [
    {},
    {"json": {}},
    {"json": {"image": "", "url": "", "image_base64": "", "image_url": ""}},
    {"json": {"top_k": 3}},
    {"data": b"", "content_type": "application/json"},
    {"data": b" \n", "content_type": "application/json"},
    {"data": b"", "content_type": "image/png"},
    {"data": b"", "content_type": "text/plain"},
    {"data": {"image": ""}},
    {"data": {"image": ""}, "content_type": MULTIPART},
]


def test_a_request_without_an_image_is_refused_with_the_ways_to_send_one(parse: Parse):
    expected = re.compile(r"BadRequestError: .*carries no image.*multipart/form-data.*application/json")
    for request in NO_IMAGE:
        assert expected.match(refusal(parse, **request)), request


def test_two_images_in_one_object_are_refused(parse: Parse):
    for first, second in (("url", "image"), ("url", "image_url"), ("image", "image_base64")):
        message = refusal(parse, json={first: TEXT, second: TEXT})
        assert message.startswith(f"BadRequestError: There are 2 images, in '{first}' and '{second}'; expected one.")


def test_two_parts_of_different_names_are_not_a_batch(parse: Parse):
    for form in (
        {"image": TEXT, "url": URL},
        {"url": URL, "image_url": URL},
        {"image": part(), "file": part()},
        {"file": part(), "url": URL},
    ):
        assert "carries 2 images in parts of different names or kinds" in refusal(parse, **multipart(**form)), form


# Batches


def test_files_of_the_same_name_are_a_batch_in_order(parse: Parse):
    for name in ("image", "file"):
        parsed = parse(data={name: [part(b"one"), part(b"two"), part(b"three")]})
        assert parsed.is_batch
        assert parsed.images == [ImageBytes(b"one"), ImageBytes(b"two"), ImageBytes(b"three")]


def test_fields_of_the_same_name_are_a_batch_in_order(parse: Parse):
    for media_type in (MULTIPART, FORM):
        parsed = parse(data={"url": [URL, f"{URL}?2"]}, content_type=media_type)
        assert (parsed.images, parsed.is_batch) == ([ImageUrl(URL), ImageUrl(f"{URL}?2")], True), media_type


def test_an_empty_file_of_a_batch_does_not_affect_the_others(parse: Parse):
    first, second, third = parse(data={"image": [part(b"one"), part(b""), part(b"three")]}).images

    assert (first, third) == (ImageBytes(b"one"), ImageBytes(b"three"))
    assert isinstance(second, BadRequestError)
    assert "'cat.jpg' is empty" in second.detail


def test_instances_are_a_batch_of_any_kinds_of_images(parse: Parse):
    parsed = parse(
        json={
            "instances": [
                {"url": URL},
                {"image": TEXT},
                {"image_url": URL, "image_base64": ""},
                {"image_base64": f"data:image/png;base64,{TEXT}"},
            ],
            "top_k": 2,
        }
    )
    assert parsed.is_batch
    assert parsed.images == [ImageUrl(URL), ImageBytes(IMAGE), ImageUrl(URL), ImageBytes(IMAGE)]
    assert parsed.options.top_k == 2


def test_a_single_instance_is_a_batch(parse: Parse):
    assert parse(json={"instances": [{"url": URL}], "url": "", "image": None}).is_batch


def test_one_image_is_a_batch_if_the_response_is_to_be_a_list(parse: Parse):
    descriptions: list[dict[str, Any]] = [
        {"json": {"url": URL, "as": "list"}},
        {"json": {"url": URL}, "query_string": {"as": "list"}},
        {"data": {"url": URL, "as": " list "}},
        {"data": {"url": URL, "as": "list"}, "content_type": MULTIPART},
        {"data": IMAGE, "content_type": "image/png", "query_string": {"as": "list"}},
    ]
    for description in descriptions:
        parsed = parse(**description)
        assert (len(parsed.images), parsed.is_batch) == (1, True), description

    for empty in ("", None):
        assert not parse(json={"url": URL, "as": empty}).is_batch


def test_an_invalid_image_is_an_item_of_a_list(parse: Parse):
    (image,) = parse(json={"image": "%%%", "as": "list"}).images
    assert isinstance(image, BadRequestError)


@pytest.mark.parametrize("value", ["List", "object", "array", True, 1, ["list"]], ids=str)
def test_no_other_shape_is_accepted(parse: Parse, value: object):
    with pytest.raises(BadRequestError, match=r"as must be list, not .*\. Omit it for the usual response\.") as caught:
        parse(json={"url": URL, "as": value})
    assert caught.value.members["field"] == "/as"


INVALID_INSTANCES = [
    (5, "must be an object"),
    (TEXT, "must be an object"),
    (None, "must be an object"),
    ({}, "There is no image. Send one of url, image_url, image, image_base64."),
    ({"url": ""}, "There is no image"),
    ({"url": URL, "image": TEXT}, "There are 2 images, in 'url' and 'image'"),
    ({"image": "%%%"}, "not valid base64"),
    ({"image": 5}, "must be a string, not a number"),
    ({"image_bas64": TEXT}, "There is no member 'image_bas64'. Did you mean 'image_base64'?"),
    ({"b64": TEXT}, "There is no member 'b64'. Did you mean 'image'?"),
    ({"url": URL, "top_k": 3}, "There is no member 'top_k'"),
]


def test_an_invalid_instance_does_not_affect_the_others(parse: Parse):
    for instance, detail in INVALID_INSTANCES:
        good, bad = parse(json={"instances": [{"url": URL}, instance]}).images

        assert good == ImageUrl(URL), instance
        assert isinstance(bad, BadRequestError), instance
        assert detail in bad.detail, instance


def test_instances_must_be_a_list_with_items(parse: Parse):
    for instances in ([], {}, "text", 5, {"url": URL}, False):
        message = refusal(parse, json={"instances": instances})
        assert message.startswith("BadRequestError: instances must be a list of at least one object"), instances


def test_an_image_beside_instances_is_refused(parse: Parse):
    for field in ("url", "image", "image_url", "image_base64"):
        message = refusal(parse, json={"instances": [{"url": URL}], field: URL})
        assert "either in `instances` or beside it" in message, field


def test_more_images_than_the_limit_are_refused(parse: Parse):
    count = MAX_IMAGES + 1
    for request in (
        {"json": {"instances": [{"url": URL}] * count}},
        {"data": {"image": [part() for _ in range(count)]}},
        {"data": {"url": [URL] * count}},
    ):
        with pytest.raises(TooManyImagesError, match="carries 5 images; at most 4 are accepted") as caught:
            parse(**request)
        assert caught.value.members == {"max_images": MAX_IMAGES}


def test_as_many_images_as_the_limit_are_accepted(parse: Parse):
    assert len(parse(json={"instances": [{"url": URL}] * MAX_IMAGES}).images) == MAX_IMAGES


# Unknown names


UNKNOWN_NAMES = [
    ({"json": {"url": URL, "topk": 3}}, r"no member 'topk'\. Did you mean 'top_k'\? Accepted: url, .*instances, top_k"),
    ({"json": {"url": URL, "treshold": 0.5}}, r"no member 'treshold'\. Did you mean 'threshold'\?"),
    ({"json": {"instance": [{"url": URL}]}}, r"no member 'instance'\. Did you mean 'instances'\?"),
    ({"json": {"zzz": 1}}, r"no member 'zzz'\. Accepted: "),
    ({"data": {"url": URL, "top-k": "3"}}, r"no field 'top-k'\. Did you mean 'top_k'\?"),
    ({"data": {"picture": part()}}, r"no field 'picture'\. Accepted: image, file, url"),
    ({"data": {"images": [part(), part()]}}, r"no field 'images'\. Did you mean 'image'\?"),
    ({"data": {"image": TEXT, "other": part()}}, r"no field 'other'"),
    ({"json": {"url": URL}, "query_string": {"topK": "3"}}, r"no query parameter 'topK'\. Did you mean 'top_k'\?"),
    ({"query_string": {"url": URL}}, r"no query parameter 'url'\. Accepted: top_k, threshold"),
]


def test_an_unknown_name_is_refused_with_the_most_similar_one(parse: Parse):
    for request, detail in UNKNOWN_NAMES:
        assert re.match(f"BadRequestError: There is {detail}", refusal(parse, **request)), request


def test_a_text_that_is_long_is_refused_where_none_is_expected(parse: Parse):
    long = "1." * 500_000
    for name, detail in {
        "url": "The field 'url' is 1 MB long, which no URL is. Send an image as `image`.",
        "top_k": "top_k must be a whole number of at least 1, not a long text.",
        "threshold": "threshold must be a number from 0 to 1, not a long text.",
        "explain": "explain must be true, false or raw, not a long text.",
    }.items():
        fields = {"image": TEXT} if name != "url" else {}
        for request in (
            {"json": {**fields, name: long}},
            {"data": {**fields, name: long}},
            multipart(**fields, **{name: long}),
        ):
            assert refusal(parse, **request) == f"BadRequestError: {detail}"


def test_a_long_name_is_shortened_in_the_message(parse: Parse):
    for request in ({"json": {"x" * 100_000: 1}}, {"data": {"x" * 100_000: "1"}}, multipart(**{"x" * 2000: "1"})):
        message = refusal(parse, **request)

        assert len(message) < 400
        assert len(re.findall(r"\.\.\.|…", message)) == 1, message


def test_a_part_without_a_name_is_refused(parse: Parse):
    body = b'--edge\r\nContent-Disposition: form-data; filename="cat.jpg"\r\n\r\nbytes\r\n--edge--\r\n'
    with pytest.raises(BadRequestError, match=r"A part of the form has no name\."):
        parse(data=body, content_type="multipart/form-data; boundary=edge")


def test_a_query_that_is_not_utf8_is_refused(parse: Parse):
    with pytest.raises(BadRequestError, match=r"The query is not UTF-8\. Write bytes beyond ASCII as %XX\."):
        parse(json={"url": URL}, environ_overrides={"QUERY_STRING": "top_k=\xc6"})


# JSON under the media type that curl and urllib send by default


def test_json_sent_as_a_form_is_parsed_as_json(source: Source, parse: Parse):
    assert source(data=json.dumps({"image": TEXT}), content_type=FORM) == ImageBytes(IMAGE)
    assert parse(data=f' {{"instances": [{{"url": "{URL}"}}], "top_k": 3}}', content_type=FORM).options.top_k == 3
    assert "not valid JSON" in refusal(parse, data='{"image": ', content_type=FORM)


# top_k


def test_top_k_stands_in_the_query_the_form_or_the_json_object(parse: Parse):
    for request in (
        {"json": {"url": URL, "top_k": 3}},
        {"json": {"url": URL, "top_k": "3"}},
        {"json": {"url": URL}, "query_string": {"top_k": "3"}},
        {"json": {"url": URL, "top_k": 4}, "query_string": {"top_k": "3"}},
        {"data": {"url": URL, "top_k": "3"}},
        {"data": {"url": URL, "top_k": "3"}, "content_type": MULTIPART},
        {"data": IMAGE, "content_type": "image/png", "query_string": {"top_k": "003"}},
        {"json": {"url": URL, "top_k": 3.0}},
        {"json": {"url": URL}, "query_string": {"top_k": " 3 "}},
        {"data": {"url": URL, "top_k": "3.0\n"}, "content_type": MULTIPART},
    ):
        assert parse(**request).options.top_k == 3, request


def test_of_a_repeated_option_of_a_form_or_query_the_first_counts(parse: Parse):
    for request in (
        {"data": {"url": URL, "top_k": ["3", "1"]}, "content_type": FORM},
        {"data": {"url": URL, "top_k": ["3", "1"]}, "content_type": MULTIPART},
        {"json": {"url": URL}, "query_string": "top_k=3&top_k=1"},
    ):
        assert parse(**request).options.top_k == 3, request


def test_a_top_k_may_be_larger_than_any_number_of_classes(parse: Parse):
    for digits in (10, 20, 4000):
        assert parse(json={"url": URL}, query_string={"top_k": "9" * digits}).options.top_k == MAX_TOP_K
        assert parse(json={"url": URL, "top_k": 10**digits}).options.top_k == MAX_TOP_K


def test_an_empty_top_k_counts_as_absent(parse: Parse):
    for request in (
        {"json": {"url": URL, "top_k": ""}},
        {"json": {"url": URL, "top_k": None}},
        {"json": {"url": URL}, "query_string": {"top_k": ""}},
    ):
        assert parse(**request).options.top_k == DEFAULT_TOP_K, request


def test_an_empty_option_of_the_query_does_not_hide_that_of_the_body(parse: Parse):
    query = {"top_k": "", "threshold": "", "explain": ""}
    options = {"top_k": 3, "threshold": 0.25, "explain": "raw"}

    for request in (
        {"json": {"url": URL, **options}},
        {"data": {"url": URL, **options}, "content_type": FORM},
        {"data": {"url": URL, **options}, "content_type": MULTIPART},
    ):
        assert parse(**request, query_string=query).options == PredictionOptions(3, 0.25, "raw"), request


def test_a_top_k_that_is_not_a_positive_integer_is_refused(parse: Parse):
    for value in (0, -1, 1.5, 0.0, True, False, [3], {"k": 3}, "0", "-1", "1.5", "three", "3 3", "٣"):
        message = refusal(parse, json={"url": URL, "top_k": value})
        assert message.startswith("BadRequestError: top_k must be a whole number of at least 1, not "), value
    for text in ("0", "-1", "1.5", "three", "+3"):
        message = refusal(parse, json={"url": URL}, query_string={"top_k": text})
        assert message.startswith("BadRequestError: top_k must be a whole number"), text


def test_an_invalid_value_is_named_as_in_json(parse: Parse):
    for value, name in (
        ("three", "'three'"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "a boolean"),
        ([3], "an array"),
        ({}, "an object"),
    ):
        message = refusal(parse, json={"url": URL, "top_k": value})

        assert message == f"BadRequestError: top_k must be a whole number of at least 1, not {name}."


def test_an_invalid_value_is_shortened_in_the_message(parse: Parse):
    for value in ("x" * 100_000, ["x" * 1000] * 1000):
        assert len(refusal(parse, json={"url": URL, "top_k": value})) < 400


def test_an_invalid_value_may_be_nested_deeply(parse: Parse):
    deep = b"[" * (MAX_JSON_DEPTH - 1) + b"]" * (MAX_JSON_DEPTH - 1)
    with pytest.raises(BadRequestError, match=r"top_k must be"):
        parse(data=b'{"url": "x", "top_k": ' + deep + b"}", content_type="application/json")


# explain


def test_explain_is_true_false_or_raw(parse: Parse):
    for value, explain in (
        (True, "image"),
        ("true", "image"),
        ("raw", "raw"),
        (False, None),
        ("false", None),
        ("", None),
        (None, None),
    ):
        assert parse(json={"url": URL, "explain": value}).options.explain == explain, value


def test_explain_may_stand_in_the_query_or_the_form(parse: Parse):
    assert parse(data={"url": URL, "explain": "raw"}).options.explain == "raw"
    assert parse(data=IMAGE, content_type="image/png", query_string={"explain": "true"}).options.explain == "image"


def test_any_other_explain_is_refused(parse: Parse):
    for value in ("yes", "True", "RAW", "image", 1, 0, [], {"raw": True}, ["raw"], "ra w"):
        message = refusal(parse, json={"url": URL, "explain": value})
        assert message.startswith("BadRequestError: explain must be true, false or raw, not "), value


# threshold


def test_a_threshold_is_a_number_from_0_to_1(parse: Parse):
    for value, threshold in (
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        ("0.25", 0.25),
        (".5", 0.5),
        (" 0.5\n", 0.5),
        ("1", 1.0),
        ("1e-3", 0.001),
        ("", None),
        (None, None),
    ):
        assert parse(json={"url": URL, "threshold": value}).options.threshold == threshold, value


def test_the_threshold_of_the_query_takes_precedence(parse: Parse):
    for request in ({"data": {"url": URL, "threshold": "0.9"}}, {"json": {"url": URL, "threshold": 0.9}}):
        assert parse(**request, query_string={"threshold": "0.5"}).options.threshold == 0.5, request


def test_any_other_threshold_is_refused(parse: Parse):
    texts = ("half", "0,5", "nan", "inf", "0 5", "0_5", "\u0660", "1" * 999)
    for value in (-0.1, 1.1, True, [0.5], {"all": 0.5}, 10**400, *texts):
        message = refusal(parse, json={"url": URL, "threshold": value})
        assert message.startswith("BadRequestError: threshold must be a number from 0 to 1, not "), value
    for number in (b"NaN", b"Infinity", b"1e999"):  # Python's parser accepts them
        body = b'{"url": "x", "threshold": ' + number + b"}"
        message = refusal(parse, data=body, content_type="application/json")
        assert message.startswith("BadRequestError: threshold must be a number"), number
