"""Forms are read as werkzeug reads them, whatever they look like; the usual ones by our own parser."""

import io

import pytest
from flask import request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from gateway.app import Gateway
from gateway.errors import BadRequestError
from gateway.http.bodies import FORM, MAX_PART_HEADERS_BYTES, MULTIPART, FormParser, UnusualFormError, parse_multipart
from tests.support.multipart import encode

HEAD = b'Content-Disposition: form-data; name="image"'
FILE = HEAD + b'; filename="a.jpg"\r\nContent-Type: image/jpeg'


def body(*parts: tuple[bytes, bytes], end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--x" + end


def in_memory(*_: object, **__: object) -> io.BytesIO:
    """Make what a file is read into; werkzeug's own would be a temporary file that somebody has to close."""
    return io.BytesIO()


def told(parser: FormDataParser, data: bytes, boundary: str = "x"):
    _, form, files = parser.parse(io.BytesIO(data), MULTIPART, len(data), {"boundary": boundary})
    contents = [(name, part.filename, part.content_type, part.stream.read()) for name, part in files.items(multi=True)]
    return list(form.items(multi=True)), contents


def both(data: bytes, boundary: str = "x"):
    return told(FormParser(in_memory), data, boundary), told(FormDataParser(in_memory), data, boundary)


def is_usual(data: bytes, boundary: str = "x") -> bool:
    try:
        parse_multipart(data, boundary.encode())
    except (UnusualFormError, UnicodeError):
        return False
    return True


def test_files_and_fields_come_in_their_order():
    data = body((FILE, b"one"), (b'Content-Disposition: form-data; name="top_k"', b"3"), (FILE, b"two"))
    form, files = parse_multipart(data, b"x")
    assert list(form.items(multi=True)) == [("top_k", "3")]
    assert [part.read() for part in files.getlist("image")] == [b"one", b"two"]
    assert [(part.filename, part.content_type) for part in files.getlist("image")] == [("a.jpg", "image/jpeg")] * 2


def test_content_may_hold_anything_but_the_boundary():
    content = b"\r\n\r\n--y\r\n--\r\n\x00\xff\n--" * 50
    assert parse_multipart(body((FILE, content)), b"x")[1]["image"].read() == content


@pytest.mark.parametrize("end", [b"--", b"--\r\n"])
def test_usual_forms_are_not_left_to_werkzeug(end: bytes):
    data = body((FILE, b"one"), (HEAD, b"text"), (FILE, b""), (HEAD, b""), end=end)
    assert is_usual(data)
    ours, theirs = both(data)
    assert ours == theirs


def test_what_werkzeugs_own_client_sends_is_usual():
    content_type, data = encode({"image": (io.BytesIO(b"\x89PNG\r\n\x1a\n"), "ü.png"), "top_k": "3"})
    boundary = content_type.partition("boundary=")[2]
    assert is_usual(data, boundary)
    ours, theirs = both(data, boundary)
    assert ours == theirs


UNUSUAL = {
    "nothing": b"",
    "no part": b"--x--\r\n",
    "a preamble": b"hello\r\n" + body((FILE, b"one")),
    "a line break before": b"\r\n" + body((FILE, b"one")),
    "an epilogue": body((FILE, b"one")) + b"bye",
    "cut off in the content": body((FILE, b"one"))[:-8],
    "line feeds alone": body((FILE, b"one")).replace(b"\r\n", b"\n"),
    "blanks behind the boundary": body((FILE, b"one")).replace(b"--x\r\n", b"--x  \r\n"),
    "a boundary that goes on": body((FILE, b"one\r\n--xy\r\n\r\ntwo")),
    "a boundary within a line": body((FILE, b"one --x two\r\n\r\nthree")),
    "a continued header": body((HEAD + b';\r\n filename="a.jpg"', b"one")),
    "a line feed in a header": body((HEAD + b"\nnonsense", b"one")),
    "a carriage return in a header": body((HEAD + b"\rnonsense", b"one")),
    "a header without a colon": body((HEAD + b"\r\nnonsense", b"one")),
    "no disposition": body((b"Content-Type: image/jpeg", b"one")),
    "no name": body((b"Content-Disposition: form-data", b"one")),
    "another disposition": body((b'Content-Disposition: attachment; name="image"', b"one")),
    "a field with a type": body((HEAD + b"\r\nContent-Type: text/plain; charset=iso-8859-1", b"\xfc")),
    "a field that is no UTF-8": body((HEAD, b"\xff")),
    "a header that is no UTF-8": body((HEAD + b"; filename=\xff", b"one")),
    "an end in the middle": body((FILE, b"one")) + body((FILE, b"two")),
}


REFUSED = {
    "cut off in the headers": b"--x\r\nContent-Disp",
    "a boundary without headers": body((FILE, b"one\r\n--xy\r\ntwo")),
    "long headers": body((HEAD + b"\r\nX-Long: " + b"a" * MAX_PART_HEADERS_BYTES, b"one")),
    "long headers of the second part": body((FILE, b"one"), (b"X-Long: " + b"a" * 9000, b"two")),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_would_take_werkzeug_long_is_refused(data: bytes):
    assert not is_usual(data)
    with pytest.raises(BadRequestError, match=f"longer than {MAX_PART_HEADERS_BYTES} bytes"):
        told(FormParser(in_memory), data)


@pytest.mark.parametrize("first", [FILE, HEAD + b";x=1;\r\n y"], ids=["usual", "unusual"])
def test_more_parts_than_may_be_are_refused_and_as_many_are_not(first: bytes):
    parser = FormParser(in_memory, max_form_parts=3)
    form, files = told(parser, body((first, b"one"), (HEAD, b"a"), (FILE, b"two")))
    assert len(form) + len(files) == 3
    with pytest.raises(BadRequestError, match="more than 3 parts"):
        told(parser, body((first, b"one"), *[(FILE, b"two")] * 3))


def test_as_many_fields_of_a_url_encoded_form_are_read_as_may_be():
    parser = FormParser(in_memory, max_form_parts=3)
    _, form, _ = parser.parse(io.BytesIO(b"a=1&b=2&c=3"), FORM, 11, {})
    assert list(form) == ["a", "b", "c"]
    with pytest.raises(BadRequestError, match="more than 3 parts"):
        parser.parse(io.BytesIO(b"a=1&b=2&c=3&d"), FORM, 13, {})


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_forms_are_left_to_werkzeug(data: bytes):
    assert not is_usual(data)
    try:
        theirs = told(FormDataParser(in_memory), data)
    except Exception as error:  # noqa: BLE001  # whatever it is, ours has to raise the same
        with pytest.raises(type(error)):
            told(FormParser(in_memory), data)
    else:
        assert told(FormParser(in_memory), data) == theirs


PIECES = st.sampled_from(
    [b"\r\n", b"--x", b"--x--", b"--", b"\n", b": ", b" ", HEAD, FILE, b"one", b"\r\n\r\n", b"\xff"]
)


@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_what_is_taken_for_usual_means_the_same_to_werkzeug(data: bytes):
    framed = b"--x\r\n" + data + b"\r\n--x--\r\n"
    if is_usual(framed):
        ours, theirs = both(framed)
        assert ours == theirs


# The body


class Socket:
    """Gives a body in pieces, as a server does, and counts how often it is asked for some."""

    def __init__(self, *pieces: bytes | OSError) -> None:
        self._pieces = list(pieces)
        self.asked: list[int] = []

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, OSError):
            raise piece
        return piece


def body_of(server: Socket, length: str | None, max_bytes: int = 100_000) -> bytes:
    app = Gateway(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_bytes
    known = {} if length is None else {"CONTENT_LENGTH": length}
    environ = {"wsgi.input": server, "wsgi.input_terminated": True, **known}
    with app.test_request_context(environ_overrides=environ):
        return request.get_data()


def test_a_body_is_asked_for_once():
    server = Socket(b"x" * 99_999)
    assert body_of(server, "99999") == b"x" * 99_999
    assert server.asked == [99_999]


@pytest.mark.parametrize("end", [b"", ConnectionResetError()], ids=["closed", "reset"])
def test_a_body_that_ends_early_is_not_taken_for_whole(end: bytes | OSError):
    with pytest.raises(ClientDisconnected):
        body_of(Socket(*([b"xyz"] if end == b"" else [end])), "7")


def test_a_body_that_is_said_to_be_too_long_is_not_read():
    server = Socket(b"x")
    with pytest.raises(RequestEntityTooLarge):
        body_of(server, "100001")
    assert server.asked == []


def test_a_body_of_unknown_length_is_read_to_its_end():
    assert body_of(Socket(b"abc", b"def"), None) == b"abcdef"


def test_no_body_is_no_wait():
    server = Socket()
    assert body_of(server, "0") == b""
    assert sum(server.asked) == 0
