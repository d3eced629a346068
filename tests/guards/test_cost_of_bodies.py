"""No body of 10 MB takes more than three times its memory to receive and parse, whatever it is made of."""

import base64
import random
from collections.abc import Callable

import pytest

from gateway.capacity import BODY_FACTOR
from gateway.http.json_objects import JsonLimits
from gateway.settings import Settings
from tests.support.traced_memory import peak_bytes
from tests.support.wsgi_requests import make_parse

SIZE = 10 * 1024 * 1024
OPTIONS = Settings()
PARSE = make_parse(
    max_bytes=SIZE,
    max_images=OPTIONS.max_images,
    max_parts=OPTIONS.max_images + 32,
    limits=JsonLimits(OPTIONS.max_json_depth, OPTIONS.max_json_values),
)
RAW = "image/jpeg"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=edge"
EMOJI = "😀".encode()
BASE64 = base64.b64encode(random.Random(0).randbytes(SIZE // 4 * 3))


def fill(piece: bytes, start: bytes = b"", end: bytes = b"") -> Callable[[], bytes]:
    """Return a function that makes a body: a start, a piece again and again, and an end."""
    return lambda: start + piece * ((SIZE - len(start) - len(end)) // len(piece)) + end


def base64_in(start: bytes, end: bytes, old: bytes = b"", new: bytes = b"") -> Callable[[], bytes]:
    """Return a function that makes a body with base64, with a character of it escaped."""
    return lambda: start + (BASE64.replace(old, new) if old else BASE64)[: (SIZE - 200) // 12 * 12] + end


def part(head: bytes) -> bytes:
    return b"--edge\r\nContent-Disposition: form-data; name=" + head + b"\r\n\r\n"


END = b"\r\n--edge--\r\n"
INSTANCE = b'{"image":"' + b"QUJD" * 45_000 + b'"},'
ACCEPTED = {
    "bytes": (RAW, fill(b"\0")),
    "octet-stream": ("application/octet-stream", fill(b"\0")),
    "file": (MULTIPART, fill(b"\0", part(b'"image"; filename="a"'), END)),
    "file, lines of LF": (
        MULTIPART,
        fill(b"\0", part(b'"image"; filename="a"').replace(b"\r\n", b"\n"), b"\n--edge--"),
    ),
    "files": (MULTIPART, fill(part(b'"image"; filename="a"') + b"\0" * 200_000 + b"\r\n", end=b"--edge--")),
    "file in base64": (
        MULTIPART,
        base64_in(part(b'"image"; filename="a"\r\nContent-Transfer-Encoding: base64'), END),
    ),
    "file with lookalikes of the boundary": (
        MULTIPART,
        fill(b"\r\n--edge" + bytes(20_000), part(b'"image"; filename="a"'), END),
    ),
    "base64 in a part": (MULTIPART, base64_in(part(b'"image"'), END)),
    "base64 in a form": (FORM, base64_in(b"image=", b"", b"+", b"%2B")),
    "base64 in a form, not escaped": (FORM, base64_in(b"image=", b"")),
    "base64 in a form, lines separated by blanks": (FORM, fill(b"QUJD" * 19 + b" ", b"image=", b"QUJD")),
    "base64 in JSON, lines separated by blanks": (JSON, fill(b"QUJD" * 19 + b" ", b'{"image":"', b'QUJD"}')),
    "base64 in JSON, blanks at the end": (
        JSON,
        lambda: b'{"image":"' + b"QUJD" * (SIZE // 8) + b"QQ==" + b" " * (SIZE // 3) + b'"}',
    ),
    "base64 of escapes": (FORM, fill(b"%41%41%41%41", b"image=")),
    "base64 in JSON": (JSON, base64_in(b'{"image":"', b'"}')),
    "base64 in JSON, escaped": (JSON, base64_in(b'{"image":"', b'"}', b"/A", b"\\/A")),
    "base64 of escapes in JSON": (JSON, fill(b"\\u0041" * 4, b'{"image":"', b'"}')),
    "a data URI": (JSON, base64_in(b'{"image":"data:image/png;base64,', b'"}')),
    "JSON as a form": (FORM, base64_in(b'{"image":"', b'"}')),
    "instances": (JSON, fill(INSTANCE, b'{"instances":[', INSTANCE[:-1] + b"]}")),
}
REFUSED = {
    "another type": ("text/plain", fill(b"a")),
    "no type": ("", fill(b"a")),
    "emoji in a part": (MULTIPART, fill(EMOJI, part(b'"image"'), END)),
    "one emoji in a part": (MULTIPART, fill(b"a", part(b'"url"'), EMOJI + END)),
    "Latin-1 in a part": (
        MULTIPART,
        fill(b"\xfc", part(b'"image"\r\nContent-Type: text/plain; charset=iso-8859-1'), END),
    ),
    "base64 in JSON with blanks": (JSON, base64_in(b'{"image":"', b'"}', b"+", b" ")),
    "blanks in a form": (FORM, fill(b" ", b"image=")),
    "blanks in JSON": (JSON, fill(b" ", b'{"image":"', b'"}')),
    "blanks and digits": (FORM, fill(b"A ", b"image=", b"=")),
    "a transfer encoding": (
        MULTIPART,
        fill(b"\0", part(b'"image"; filename="a"\r\nContent-Transfer-Encoding: base64'), END),
    ),
    "no end": (MULTIPART, fill(b"\0", part(b'"image"; filename="a"'))),
    "line breaks": (MULTIPART, fill(b"\r\n")),
    "boundaries": (MULTIPART, fill(b"--edge")),
    "blanks after boundaries": (MULTIPART, fill(b"--edge" + b" " * 150_000)),
    "parameters": (MULTIPART, fill(part(b"a" + b";a*0*=x" * 1000) + b" " * 150_000)),
    "a field name": (FORM, fill(b"a")),
    "an escaped field name": (FORM, fill(b"%41")),
    "escapes of other bytes": (FORM, fill(b"%f1", b"image=")),
    "ampersands": (FORM, fill(b"&")),
    "emoji in a form": (FORM, fill(EMOJI, b"url=")),
    "a threshold": (FORM, fill(b"1", b"image=AAAA&threshold=")),
    "a member name": (JSON, fill(b"a", b'{"', b'":1}')),
    "a member name with an emoji": (JSON, fill(b"a", b'{"' + EMOJI, b'":1}')),
    "an emoji in JSON": (JSON, fill(b"a", b'{"image":"' + EMOJI, b'"}')),
    "an escaped emoji in JSON": (JSON, fill(b"a", b'{"image":"\\ud83d\\ude00', b'"}')),
    "short texts with emoji": (JSON, fill(b'"' + b"a" * 16_000 + EMOJI + b'",', b'{"instances":[', b"1]}")),
    "a number": (JSON, fill(b"1", b'{"top_k":', b"}")),
    "a fraction": (JSON, fill(b"1", b'{"threshold":0.', b"}")),
    "spaces": (JSON, fill(b" ")),
    "objects": (JSON, fill(b"{},", b'{"instances":[', b"{}]}")),
    "brackets": (JSON, fill(b"[")),
    "quotes": (JSON, fill(b'"')),
    "backslashes": (JSON, fill(b"\\", b'{"image":"')),
    "a text without end": (JSON, fill(b'a\\"', b'{"image":"')),
    "UTF-16": (JSON, lambda: fill(b"a", b'{"image":"', b'"}')()[: SIZE // 3].decode().encode("utf-16")),
}


@pytest.mark.parametrize("name", [*ACCEPTED, *REFUSED])
def test_a_body_takes_at_most_three_times_its_memory(name: str):
    content_type, make = (ACCEPTED | REFUSED)[name]
    body = make()
    assert len(body) > SIZE / 2

    peak, result = peak_bytes(lambda: PARSE(content_type, body, chunked=False))

    assert peak <= BODY_FACTOR * len(body), f"{peak / len(body):.1f} times"
    assert isinstance(result, Exception) == (name in REFUSED), result


@pytest.mark.parametrize("name", ["bytes", "file", "base64 in JSON", "another type"])
def test_a_body_in_chunks_takes_at_most_three_times_its_memory(name: str):
    content_type, make = (ACCEPTED | REFUSED)[name]
    body = make()

    peak, _ = peak_bytes(lambda: PARSE(content_type, body, chunked=True))

    assert peak <= BODY_FACTOR * len(body), f"{peak / len(body):.1f} times"


def test_the_measurement_counts_the_body_and_its_copies():
    body = bytes(SIZE)

    peak, result = peak_bytes(lambda: PARSE(RAW, body, chunked=False))

    assert peak >= SIZE
    assert result.images[0].data == body
