import base64
import io
import json
import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.app import FORM_PARTS_BESIDE_IMAGES
from gateway.deadline import Deadline, Timings
from gateway.errors import BadRequestError, ContentTypeError, TooManyImagesError
from gateway.http.bodies import JsonLimits
from gateway.http.request_context import unwrap
from gateway.http.request_parser import JSON_TYPES, RequestLimits, RequestParser
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageSource, ImageUrl
from gateway.prediction.predictor import PredictionOptions, PredictionRequest
from gateway.settings import Settings
from tests.support.multipart import encode, with_encoded_form

PICTURE = bytes(range(256)) * 3 + b"\xfb\xff"  # its base64 has a + and a /
TEXT = base64.b64encode(PICTURE).decode()
URL = "https://photos.example/cat.jpg"

Parse = Callable[..., PredictionRequest]
Source = Callable[..., ImageSource]
DEFAULT_TOP_K = 5
MAX_IMAGES = 4
MAX_JSON_DEPTH = 5
MAX_JSON_VALUES = 100
MAX_IMAGES_OF_THE_APP = Settings().max_images
LIMITS = RequestLimits(MAX_IMAGES, JsonLimits(MAX_JSON_DEPTH, MAX_JSON_VALUES))


@pytest.fixture
def parse(app: Flask) -> Parse:
    """Parse a POST request described by the arguments of `werkzeug.test.EnvironBuilder`."""
    parser = RequestParser(LIMITS, default_top_k=DEFAULT_TOP_K)

    def parse(**description: Any) -> PredictionRequest:
        with app.test_request_context("/api/v1/predict", method="POST", **with_encoded_form(description)):
            try:
                return parser.parse(
                    unwrap(request), ModelTarget(), deadline=Deadline.after(10), request_id="id", timings=Timings()
                )
            finally:
                request.close()

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
    content_type, body = encode(fields)
    return {"data": body, "content_type": content_type}


# Multipart


@pytest.mark.parametrize("field", ["image", "file"])
def test_a_multipart_file_part(parse: Parse, field: str):
    assert content(parse(data={field: part()})) == ([ImageBytes(PICTURE)], False, PredictionOptions(DEFAULT_TOP_K))


def test_a_file_larger_than_what_is_kept_in_memory(source: Source):
    large = os.urandom(700_000)
    assert source(**multipart(image=part(large))) == ImageBytes(large)


@pytest.mark.parametrize("field", ["image", "image_base64"])
def test_base64_in_a_multipart_text_part(source: Source, field: str):
    assert source(data={field: TEXT}, content_type="multipart/form-data") == ImageBytes(PICTURE)


def test_base64_in_a_text_part_larger_than_werkzeugs_default_limit(source: Source):
    large = os.urandom(600_000)
    text = base64.b64encode(large).decode()
    assert len(text) > 500_000
    assert source(**multipart(image=text)) == ImageBytes(large)


@pytest.mark.parametrize("field", ["url", "image_url"])
@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_url_in_a_form(source: Source, field: str, media_type: str):
    assert source(data={field: URL}, content_type=media_type) == ImageUrl(URL)


def test_base64_in_a_text_part_named_file_counts_as_in_one_named_image(source: Source, parse: Parse):
    """A part is a file by its file name, and text without one."""
    assert source(**multipart(file=TEXT)) == ImageBytes(PICTURE)
    assert source(data={"file": TEXT}) == ImageBytes(PICTURE)
    batch = parse(data={"file": [TEXT, TEXT]}, content_type="multipart/form-data")
    assert batch.images == [ImageBytes(PICTURE), ImageBytes(PICTURE)]


@pytest.mark.parametrize("field", ["image", "file"])
def test_a_file_sent_without_a_file_name_is_told_what_is_missing(parse: Parse, field: str):
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"\r\nContent-Type: image/png\r\n\r\n'
    body = head.encode() + PICTURE + b"\r\n--edge--\r\n"
    with pytest.raises(BadRequestError, match=rf"{field}. is not valid base64.* need a part with a `filename`"):
        parse(data=body, content_type="multipart/form-data; boundary=edge")


def test_text_named_file_beside_another_image_is_not_left_out_in_silence(parse: Parse):
    with pytest.raises(BadRequestError, match="carries 2 images in parts of different names or kinds"):
        parse(data={"file": TEXT, "url": URL})
    with pytest.raises(BadRequestError, match="carries 2 images in parts of different names or kinds"):
        parse(data={"file": [part(), TEXT]}, content_type="multipart/form-data")


# Forms made to cost more than their bytes


MAX_PARTS = MAX_IMAGES_OF_THE_APP + FORM_PARTS_BESIDE_IMAGES


def parts(number: int, headers: bytes = b"") -> dict[str, Any]:
    one = b'--edge\r\nContent-Disposition: form-data; name="url"\r\n' + headers + b"\r\n\r\n"
    return {"data": one * number + b"--edge--\r\n", "content_type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_form_of_very_many_fields_is_refused_before_it_is_parsed(parse: Parse, media_type: str):
    told = parts(20_000) if media_type.startswith("multipart") else {"data": b"url=&" * 100_000}
    with pytest.raises(BadRequestError, match=f"more than {MAX_PARTS} parts"):
        parse(**{"content_type": media_type} | told)


@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_form_of_as_many_fields_as_allowed_is_parsed(parse: Parse, media_type: str):
    for number, expected in ((MAX_PARTS, "carries no image"), (MAX_PARTS + 1, "more than")):
        fields = "&".join(["url="] * number)
        told = parts(number) if media_type.startswith("multipart") else {"data": fields}
        with pytest.raises(BadRequestError, match=expected):
            parse(**{"content_type": media_type} | told)


@pytest.mark.parametrize(
    "headers",
    [b"A: b\r\n" * 100_000, b"A: " + b"b" * 9_000, b"A: b\r\n b\r\n" * 100_000, b"\r" + b"A: b\r" * 2_000],
    ids=["many", "long", "continued", "other line breaks"],
)
def test_headers_of_a_part_without_end_are_refused(parse: Parse, headers: bytes):
    with pytest.raises(BadRequestError, match="headers of a part of the form are incomplete or longer than 8192 bytes"):
        parse(**parts(1, headers))


def test_a_part_may_have_headers_of_its_own(parse: Parse):
    with pytest.raises(BadRequestError, match="carries no image"):
        parse(**parts(1, b"X-Own: " + b"b" * 8_000))


def test_base64_in_a_urlencoded_form(source: Source):
    assert source(data={"image": TEXT}) == ImageBytes(PICTURE)


def test_a_browsers_untouched_file_field_counts_as_absent(source: Source):
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\n' + URL.encode() + b"\r\n--x--\r\n"
    assert source(data=form, content_type="multipart/form-data; boundary=x") == ImageUrl(URL)


def test_an_empty_file_is_told_by_its_name(parse: Parse):
    with pytest.raises(BadRequestError, match=r"The file 'cat\.jpg' is empty"):
        parse(data={"image": part(b"")})


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_boundary_carries_no_image(parse: Parse, content_type: str):
    with pytest.raises(BadRequestError, match="carries no image"):
        parse(data=b"--x\r\n\r\n--x--", content_type=content_type, headers={"Content-Type": content_type})


# JSON


@pytest.mark.parametrize("field", ["url", "image_url"])
def test_a_url_in_json(source: Source, field: str):
    assert source(json={field: f" {URL}\n"}) == ImageUrl(URL)


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
def test_base64_in_json_however_it_is_written(source: Source, field: str, text: str):
    assert source(json={field: text}) == ImageBytes(PICTURE)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/ld+json"])
def test_json_under_its_several_names(source: Source, content_type: str):
    assert source(data=json.dumps({"url": URL}), content_type=content_type) == ImageUrl(URL)


def test_json_with_a_byte_order_mark(source: Source):
    body = b"\xef\xbb\xbf" + json.dumps({"url": URL}).encode()
    assert source(data=body, content_type="application/json") == ImageUrl(URL)


def test_what_older_systems_send(source: Source):
    assert source(json={"image_base64": "", "image_url": URL}) == ImageUrl(URL)
    assert source(json={"image_base64": TEXT, "image_url": ""}) == ImageBytes(PICTURE)


def test_null_counts_as_absent(parse: Parse):
    assert content(parse(json={"image": None, "url": URL, "top_k": None})) == (
        [ImageUrl(URL)],
        False,
        PredictionOptions(DEFAULT_TOP_K),
    )


@pytest.mark.parametrize(
    "text", ["%%%", "a", "AAAAA", "AAA=AAAA", "QUJD=REVG", "grün", "data:text/plain,hello", "data:image/png;base64"]
)
def test_what_is_no_base64_is_refused_by_the_fields_name(parse: Parse, text: str):
    with pytest.raises(BadRequestError, match="The field 'image' is not valid base64"):
        parse(json={"image": text})


@pytest.mark.parametrize("field", ["url", "image_url", "image", "image_base64"])
@pytest.mark.parametrize("value", [5, 0, True, False, 1.5, [], ["x"], {}, {"b64": "x"}])
def test_a_field_of_another_type_is_refused(parse: Parse, field: str, value: Any):
    with pytest.raises(BadRequestError, match=f"The field '{field}' must be a string, not {JSON_TYPES[type(value)]}"):
        parse(json={field: value})


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null", b"true", b'["url"]'])
def test_json_that_is_no_object_is_refused(parse: Parse, body: bytes):
    with pytest.raises(BadRequestError, match="must be an object"):
        parse(data=body, content_type="application/json")


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
def test_what_is_no_json_is_refused_with_the_place(parse: Parse, body: bytes):
    with pytest.raises(BadRequestError, match="The body is not valid JSON: "):
        parse(data=body, content_type="application/json")


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_json_that_is_nested_too_deeply_is_refused(parse: Parse, bracket: str):
    with pytest.raises(BadRequestError, match="nested too deeply: at most 5 levels are accepted"):
        parse(data=bracket * (MAX_JSON_DEPTH + 1), content_type="application/json")
    with pytest.raises(BadRequestError, match="not valid JSON: "):  # just as deep as it may be, but open
        parse(data=bracket * MAX_JSON_DEPTH, content_type="application/json")


def test_depth_is_that_of_the_nesting_and_not_the_number_of_brackets(source: Source):
    told = {"image": TEXT, "top_k": None, "threshold": None}
    assert source(data=json.dumps(told, indent=40).encode(), content_type="application/json") == ImageBytes(PICTURE)
    assert source(json=told | {"image": f"data:image/png{'[{' * 50};base64,{TEXT}"}) == ImageBytes(PICTURE)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [' + b"{}," * 200_000 + b"{}]}",
        b'{"instances": [' + b"[]," * 200_000 + b"[]]}",
        b'{"instances": [' + b'"",' * 200_000 + b'""]}',
        b'{"instances": [' + b"1," * 200_000 + b"1]}",
        b'{"instances": [' + b'"\\"",' * 100_000 + b'""]}',
        ('{"instances": [' + "{}," * 100_000 + "{}]}").encode("utf-16"),
        ('{"\ud800": [' + "{}," * 100_000 + "{}]}").encode(errors="surrogatepass"),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'"' * 200_000,
        b'""' * 200_000,
    ],
    ids=["objects", "lists", "strings", "numbers", "escapes", "UTF-16", "surrogates", "[", "{", "quotes", "escaped"],
)
def test_json_of_very_many_values_is_refused_before_it_takes_their_memory(parse: Parse, body: bytes):
    """As Python objects the values take up to 25 times as much as in the text."""
    tracemalloc.start()
    with pytest.raises(BadRequestError, match=r"more than 100 values|not valid JSON"):
        parse(data=body, content_type="application/json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(body)


def test_a_string_of_many_lines_of_base64_is_one_value(source: Source):
    large = os.urandom(600_000)
    lines = base64.encodebytes(large).decode()
    assert lines.count("\n") > 5_000
    assert source(json={"image": lines}) == ImageBytes(large)


# Raw


@pytest.mark.parametrize(
    "media_type", ["image/jpeg", "image/png", "image/x-unheard-of", "IMAGE/PNG", "application/octet-stream"]
)
def test_the_bytes_themselves(parse: Parse, media_type: str):
    assert content(parse(data=PICTURE, content_type=media_type)) == (
        [ImageBytes(PICTURE)],
        False,
        PredictionOptions(DEFAULT_TOP_K),
    )


def test_a_body_without_length(source: Source):
    assert source(**chunked(PICTURE, "image/png")) == ImageBytes(PICTURE)
    assert source(**chunked(json.dumps({"url": URL}).encode(), "application/json")) == ImageUrl(URL)
    assert source(**chunked(b"url=https%3A%2F%2Fx%2F", "application/x-www-form-urlencoded")) == ImageUrl("https://x/")


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
def test_a_body_without_length_is_counted_all_the_same(parse: Parse, media_type: str, begin: bytes):
    with pytest.raises(RequestEntityTooLarge):
        parse(**chunked(begin + b"A" * 2_000_001, media_type))


@pytest.mark.parametrize("media_type", ["text/plain", "text/html", "application/pdf", "video/mp4", "nonsense"])
def test_a_body_of_another_kind_is_refused_by_its_name(parse: Parse, media_type: str):
    with pytest.raises(ContentTypeError, match=f"'{media_type}' is not accepted.*multipart/form-data"):
        parse(data=PICTURE, content_type=media_type)


def test_a_body_without_content_type_is_refused(parse: Parse):
    with pytest.raises(ContentTypeError, match="no Content-Type"):
        parse(data=PICTURE)


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
    ],
    ids=str,
)
def test_a_request_without_image_is_told_how_to_send_one(parse: Parse, told: dict[str, Any]):
    with pytest.raises(BadRequestError, match=r"carries no image.*multipart/form-data.*application/json"):
        parse(**told)


@pytest.mark.parametrize(
    "told",
    [
        {"json": {"url": URL, "image": TEXT}},
        {"json": {"url": URL, "image_url": URL}},
        {"json": {"image": TEXT, "image_base64": TEXT}},
    ],
    ids=lambda told: ",".join(told["json"]),
)
def test_two_images_in_one_object_are_one_too_many(parse: Parse, told: dict[str, Any]):
    with pytest.raises(BadRequestError, match=r"There are 2 images, in '.*' and '.*'; expected one"):
        parse(**told)


@pytest.mark.parametrize(
    "form",
    [
        {"image": TEXT, "url": URL},
        {"url": URL, "image_url": URL},
        {"image": part(), "file": part()},
        {"file": part(), "url": URL},
    ],
    ids=",".join,
)
def test_two_parts_of_different_names_are_no_batch(parse: Parse, form: dict[str, Any]):
    with pytest.raises(BadRequestError, match="carries 2 images in parts of different names or kinds"):
        parse(**multipart(**form))


# Batches


def test_parts_of_the_same_name_are_a_batch_in_their_order(parse: Parse):
    for name in ("image", "file"):
        parsed = parse(data={name: [part(b"one"), part(b"two"), part(b"three")]})
        assert parsed.is_batch
        assert parsed.images == [ImageBytes(b"one"), ImageBytes(b"two"), ImageBytes(b"three")]


@pytest.mark.parametrize("media_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_so_are_fields_of_the_same_name(parse: Parse, media_type: str):
    parsed = parse(data={"url": [URL, f"{URL}?2"]}, content_type=media_type)
    assert (parsed.images, parsed.is_batch) == ([ImageUrl(URL), ImageUrl(f"{URL}?2")], True)


def test_an_empty_file_among_others_is_its_own_problem(parse: Parse):
    first, second, third = parse(data={"image": [part(b"one"), part(b""), part(b"three")]}).images
    assert (first, third) == (ImageBytes(b"one"), ImageBytes(b"three"))
    assert isinstance(second, BadRequestError)
    assert "'cat.jpg' is empty" in second.detail


def test_instances_are_a_batch_of_every_kind_of_image(parse: Parse):
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
    assert parsed.images == [ImageUrl(URL), ImageBytes(PICTURE), ImageUrl(URL), ImageBytes(PICTURE)]
    assert parsed.options.top_k == 2


def test_one_instance_is_a_batch_too(parse: Parse):
    assert parse(json={"instances": [{"url": URL}], "url": "", "image": None}).is_batch


@pytest.mark.parametrize(
    ("instance", "detail"),
    [
        (5, "must be an object"),
        (TEXT, "must be an object"),
        (None, "must be an object"),
        ({}, "There is no image. Send one of url, image_url, image, image_base64."),
        ({"url": ""}, "There is no image"),
        ({"url": URL, "image": TEXT}, "There are 2 images, in 'url' and 'image'"),
        ({"image": "%%%"}, "not valid base64"),
        ({"image": 5}, "must be a string, not a number"),
        ({"image_bas64": TEXT}, "There is no member 'image_bas64'. Did you mean 'image_base64'?"),
        ({"url": URL, "top_k": 3}, "There is no member 'top_k'"),
    ],
    ids=str,
)
def test_an_instance_that_cannot_be_understood_is_its_own_problem(parse: Parse, instance: Any, detail: str):
    good, bad = parse(json={"instances": [{"url": URL}, instance]}).images
    assert good == ImageUrl(URL)
    assert isinstance(bad, BadRequestError)
    assert detail in bad.detail


@pytest.mark.parametrize("instances", [[], {}, "text", 5, {"url": URL}, False])
def test_instances_that_are_no_list_are_refused(parse: Parse, instances: Any):
    with pytest.raises(BadRequestError, match="instances must be a list of at least one object"):
        parse(json={"instances": instances})


@pytest.mark.parametrize("field", ["url", "image", "image_url", "image_base64"])
def test_an_image_beside_instances_is_refused(parse: Parse, field: str):
    with pytest.raises(BadRequestError, match="either in `instances` or beside it"):
        parse(json={"instances": [{"url": URL}], field: URL})


@pytest.mark.parametrize(
    "told",
    [
        {"json": {"instances": [{"url": URL}] * (MAX_IMAGES + 1)}},
        {"data": {"image": [part() for _ in range(MAX_IMAGES + 1)]}},
        {"data": {"url": [URL] * (MAX_IMAGES + 1)}},
    ],
    ids=["instances", "files", "fields"],
)
def test_more_images_than_the_limit_are_refused(parse: Parse, told: dict[str, Any]):
    with pytest.raises(TooManyImagesError, match="carries 5 images; at most 4 are accepted") as caught:
        parse(**told)
    assert caught.value.members == {"max_images": MAX_IMAGES}


def test_as_many_images_as_the_limit_are_taken(parse: Parse):
    assert len(parse(json={"instances": [{"url": URL}] * MAX_IMAGES}).images) == MAX_IMAGES


# What is not known


@pytest.mark.parametrize(
    ("told", "detail"),
    [
        (
            {"json": {"url": URL, "topk": 3}},
            r"no member 'topk'\. Did you mean 'top_k'\? Accepted: url, .*instances, top_k",
        ),
        ({"json": {"url": URL, "treshold": 0.5}}, r"no member 'treshold'\. Did you mean 'threshold'\?"),
        ({"json": {"instance": [{"url": URL}]}}, r"no member 'instance'\. Did you mean 'instances'\?"),
        ({"json": {"zzz": 1}}, r"no member 'zzz'\. Accepted: "),
        ({"data": {"url": URL, "top-k": "3"}}, r"no field 'top-k'\. Did you mean 'top_k'\?"),
        ({"data": {"picture": part()}}, r"no field 'picture'\. Accepted: image, file, url"),
        ({"data": {"images": [part(), part()]}}, r"no field 'images'\. Did you mean 'image'\?"),
        ({"data": {"image": TEXT, "other": part()}}, r"no field 'other'"),
        ({"json": {"url": URL}, "query_string": {"topK": "3"}}, r"no query parameter 'topK'\. Did you mean 'top_k'\?"),
        ({"query_string": {"url": URL}}, r"no query parameter 'url'\. Accepted: top_k, threshold"),
    ],
    ids=str,
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest_that_is(parse: Parse, told: dict[str, Any], detail: str):
    with pytest.raises(BadRequestError, match=f"There is {detail}"):
        parse(**told)


def test_a_name_of_any_length_is_quoted_in_short(parse: Parse):
    with pytest.raises(BadRequestError) as caught:
        parse(json={"x" * 100_000: 1})
    assert len(caught.value.detail) < 400


def test_a_part_without_a_name_is_told(parse: Parse):
    body = b'--edge\r\nContent-Disposition: form-data; filename="cat.jpg"\r\n\r\nbytes\r\n--edge--\r\n'
    with pytest.raises(BadRequestError, match=r"A part of the form has no name\."):
        parse(data=body, content_type="multipart/form-data; boundary=edge")


def test_bytes_in_the_query_that_are_no_utf8_are_told(parse: Parse):
    with pytest.raises(BadRequestError, match=r"The query is not UTF-8\. Write bytes beyond ASCII as %XX\."):
        parse(json={"url": URL}, environ_overrides={"QUERY_STRING": "top_k=\xc6"})


# JSON under the name that curl and urllib give to every body


def test_json_sent_as_a_form_is_taken_as_json(source: Source, parse: Parse):
    form = "application/x-www-form-urlencoded"
    assert source(data=json.dumps({"image": TEXT}), content_type=form) == ImageBytes(PICTURE)
    assert parse(data=f' {{"instances": [{{"url": "{URL}"}}], "top_k": 3}}', content_type=form).options.top_k == 3
    with pytest.raises(BadRequestError, match="not valid JSON"):
        parse(data='{"image": ', content_type=form)


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
def test_top_k_wherever_it_stands(parse: Parse, told: dict[str, Any]):
    assert parse(**told).options.top_k == 3


@pytest.mark.parametrize("told", [{"json": {"url": URL, "top_k": ""}}, {"json": {"url": URL, "top_k": None}}], ids=str)
def test_an_empty_top_k_counts_as_absent(parse: Parse, told: dict[str, Any]):
    assert parse(**told).options.top_k == DEFAULT_TOP_K
    assert parse(json={"url": URL}, query_string={"top_k": ""}).options.top_k == DEFAULT_TOP_K


@pytest.mark.parametrize("value", [0, -1, 1.5, 3.0, True, False, [3], {"k": 3}, "0", "-1", "1.5", "three", " 3", "٣"])
def test_a_top_k_that_is_no_count_is_refused(parse: Parse, value: Any):
    with pytest.raises(BadRequestError, match="top_k must be a whole number of at least 1, not "):
        parse(json={"url": URL, "top_k": value})


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "three", "+3", "9" * 10])
def test_so_is_one_in_the_query(parse: Parse, value: str):
    with pytest.raises(BadRequestError, match="top_k must be a whole number"):
        parse(json={"url": URL}, query_string={"top_k": value})


def test_a_wrong_value_is_quoted_in_short(parse: Parse):
    for value in ("x" * 100_000, ["x" * 1000] * 1000):
        with pytest.raises(BadRequestError) as caught:
            parse(json={"url": URL, "top_k": value})
        assert len(caught.value.detail) < 400


def test_a_wrong_value_may_be_nested_deeply(parse: Parse):
    deep = b"[" * (MAX_JSON_DEPTH - 1) + b"]" * (MAX_JSON_DEPTH - 1)
    with pytest.raises(BadRequestError, match=r"top_k must be"):
        parse(data=b'{"url": "x", "top_k": ' + deep + b"}", content_type="application/json")


# explain


@pytest.mark.parametrize(
    ("value", "explain"),
    [(True, "image"), ("true", "image"), ("raw", "raw"), (False, None), ("false", None), ("", None), (None, None)],
)
def test_explain_is_true_false_or_raw(parse: Parse, value: Any, explain: str | None):
    assert parse(json={"url": URL, "explain": value}).options.explain == explain


def test_explain_stands_in_query_and_form_too(parse: Parse):
    assert parse(data={"url": URL, "explain": "raw"}).options.explain == "raw"
    assert parse(data=PICTURE, content_type="image/png", query_string={"explain": "true"}).options.explain == "image"


@pytest.mark.parametrize("value", ["yes", "True", "RAW", "image", 1, 0, [], {"raw": True}, ["raw"], "raw "])
def test_another_explain_is_refused(parse: Parse, value: Any):
    with pytest.raises(BadRequestError, match="explain must be true, false or raw, not "):
        parse(json={"url": URL, "explain": value})


# threshold


@pytest.mark.parametrize(
    ("value", "threshold"),
    [
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1", 1.0),
        ("1e-3", 0.001),
        ("", None),
        (None, None),
    ],
)
def test_a_threshold_is_a_number_from_0_to_1(parse: Parse, value: Any, threshold: float | None):
    assert parse(json={"url": URL, "threshold": value}).options.threshold == threshold


@pytest.mark.parametrize("told", [{"data": {"url": URL, "threshold": "0.5"}}, {"json": {"url": URL, "threshold": 0.9}}])
def test_the_threshold_in_the_query_counts_first(parse: Parse, told: dict[str, Any]):
    assert parse(**told, query_string={"threshold": "0.5"}).options.threshold == 0.5


@pytest.mark.parametrize(
    "value",
    [-0.1, 1.1, True, "half", "0,5", "nan", "inf", " 0.5", "0_5", "\u0660", [0.5], {"all": 0.5}, 10**400, "1" * 999],
)
def test_a_threshold_that_is_none_is_refused(parse: Parse, value: Any):
    with pytest.raises(BadRequestError, match="threshold must be a number from 0 to 1, not "):
        parse(json={"url": URL, "threshold": value})


def test_a_number_that_json_does_not_know_is_no_threshold(parse: Parse):
    for value in (b"NaN", b"Infinity", b"1e999"):
        with pytest.raises(BadRequestError, match="threshold must be a number"):
            parse(data=b'{"url": "x", "threshold": ' + value + b"}", content_type="application/json")
