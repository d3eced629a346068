"""Every form is parsed as werkzeug parses it; usual forms by the gateway's own parser."""

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
    """Return the stream for a file; werkzeug's default is a temporary file that must be closed."""
    return io.BytesIO()


def parse(parser: FormDataParser, data: bytes, boundary: str = "x"):
    _, form, files = parser.parse(io.BytesIO(data), MULTIPART, len(data), {"boundary": boundary})
    contents = [(name, part.filename, part.content_type, part.stream.read()) for name, part in files.items(multi=True)]
    return list(form.items(multi=True)), contents


def parse_with_both(data: bytes, boundary: str = "x"):
    return parse(FormParser(in_memory), data, boundary), parse(FormDataParser(in_memory), data, boundary)


def is_usual(data: bytes, boundary: str = "x") -> bool:
    try:
        parse_multipart(data, boundary.encode())
    except (UnusualFormError, UnicodeError):
        return False
    return True


def test_files_and_fields_keep_their_order():
    data = body((FILE, b"one"), (b'Content-Disposition: form-data; name="top_k"', b"3"), (FILE, b"two"))

    form, files = parse_multipart(data, b"x")

    assert list(form.items(multi=True)) == [("top_k", "3")]
    assert [part.read() for part in files.getlist("image")] == [b"one", b"two"]
    assert [(part.filename, part.content_type) for part in files.getlist("image")] == [("a.jpg", "image/jpeg")] * 2


def test_content_may_hold_any_bytes_except_the_boundary():
    content = b"\r\n\r\n--y\r\n--\r\n\x00\xff\n--" * 50
    assert parse_multipart(body((FILE, content)), b"x")[1]["image"].read() == content


def test_usual_forms_are_not_left_to_werkzeug():
    for end in (b"--", b"--\r\n"):
        data = body((FILE, b"one"), (HEAD, b"text"), (FILE, b""), (HEAD, b""), end=end)
        assert is_usual(data), end
        ours, theirs = parse_with_both(data)
        assert ours == theirs, end


def test_a_form_sent_by_curl_is_usual():
    content_type, data = encode({"image": (io.BytesIO(b"\x89PNG\r\n\x1a\n"), "ü.png"), "top_k": "3"})
    boundary = content_type.partition("boundary=")[2]
    assert is_usual(data, boundary)
    ours, theirs = parse_with_both(data, boundary)
    assert ours == theirs


UNUSUAL = {
    "nothing": b"",
    "no part": b"--x--\r\n",
    "a preamble": b"hello\r\n" + body((FILE, b"one")),
    "a line break before the first boundary": b"\r\n" + body((FILE, b"one")),
    "an epilogue": body((FILE, b"one")) + b"bye",
    "cut off in the content": body((FILE, b"one"))[:-8],
    "line feeds only": body((FILE, b"one")).replace(b"\r\n", b"\n"),
    "spaces after the boundary": body((FILE, b"one")).replace(b"--x\r\n", b"--x  \r\n"),
    "a boundary followed by text": body((FILE, b"one\r\n--xy\r\n\r\ntwo")),
    "a boundary within a line": body((FILE, b"one --x two\r\n\r\nthree")),
    "a folded header": body((HEAD + b';\r\n filename="a.jpg"', b"one")),
    "a line feed in a header": body((HEAD + b"\nnonsense", b"one")),
    "a carriage return in a header": body((HEAD + b"\rnonsense", b"one")),
    "a header without a colon": body((HEAD + b"\r\nnonsense", b"one")),
    "no disposition": body((b"Content-Type: image/jpeg", b"one")),
    "no name": body((b"Content-Disposition: form-data", b"one")),
    "another disposition": body((b'Content-Disposition: attachment; name="image"', b"one")),
    "a field with a type": body((HEAD + b"\r\nContent-Type: text/plain; charset=iso-8859-1", b"\xfc")),
    "a field that is not UTF-8": body((HEAD, b"\xff")),
    "a header that is not UTF-8": body((HEAD + b"; filename=\xff", b"one")),
    "an end in the middle": body((FILE, b"one")) + body((FILE, b"two")),
}


REFUSED = {
    "cut off in the headers": b"--x\r\nContent-Disp",
    "a boundary without headers": body((FILE, b"one\r\n--xy\r\ntwo")),
    "long headers": body((HEAD + b"\r\nX-Long: " + b"a" * MAX_PART_HEADERS_BYTES, b"one")),
    "long headers of the second part": body((FILE, b"one"), (b"X-Long: " + b"a" * 9000, b"two")),
}


def test_forms_that_werkzeug_parses_slowly_are_refused():
    for name, data in REFUSED.items():
        assert not is_usual(data), name
        with pytest.raises(BadRequestError, match=f"longer than {MAX_PART_HEADERS_BYTES} bytes"):
            pytest.fail(f"{name}: {parse(FormParser(in_memory), data)}")


@pytest.mark.parametrize("first", [FILE, HEAD + b";x=1;\r\n y"], ids=["usual", "unusual"])
def test_more_parts_than_the_limit_are_refused(first: bytes):
    parser = FormParser(in_memory, max_form_parts=3)

    form, files = parse(parser, body((first, b"one"), (HEAD, b"a"), (FILE, b"two")))
    assert len(form) + len(files) == 3

    with pytest.raises(BadRequestError, match="more than 3 parts"):
        parse(parser, body((first, b"one"), *[(FILE, b"two")] * 3))


def test_more_fields_of_a_url_encoded_form_than_the_limit_are_refused():
    parser = FormParser(in_memory, max_form_parts=3)
    _, form, _ = parser.parse(io.BytesIO(b"a=1&b=2&c=3"), FORM, 11, {})
    assert list(form) == ["a", "b", "c"]

    with pytest.raises(BadRequestError, match="more than 3 parts"):
        parser.parse(io.BytesIO(b"a=1&b=2&c=3&d"), FORM, 13, {})


def outcome(parser: FormDataParser, data: bytes) -> object:
    """Return what a form is parsed into, or the class of the error that is raised."""
    try:
        return parse(parser, data)
    except Exception as error:  # noqa: BLE001  # any error counts: both parsers must raise the same
        return type(error)


def test_unusual_forms_are_left_to_werkzeug():
    for name, data in UNUSUAL.items():
        assert not is_usual(data), name
        assert outcome(FormParser(in_memory), data) == outcome(FormDataParser(in_memory), data), name


PIECES = st.sampled_from(
    [b"\r\n", b"--x", b"--x--", b"--", b"\n", b": ", b" ", HEAD, FILE, b"one", b"\r\n\r\n", b"\xff"]
)


@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_every_usual_form_is_parsed_as_werkzeug_parses_it(data: bytes):
    framed = b"--x\r\n" + data + b"\r\n--x--\r\n"
    if is_usual(framed):
        ours, theirs = parse_with_both(framed)
        assert ours == theirs


# The body


class Socket:
    """Delivers a body in pieces, as a server does, and records the sizes that were requested."""

    def __init__(self, *pieces: bytes | OSError) -> None:
        self._pieces = list(pieces)
        self.sizes: list[int] = []

    def read(self, size: int) -> bytes:
        self.sizes.append(size)
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, OSError):
            raise piece
        if piece[size:]:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


def read_body(socket: Socket, *, length: str | None, max_bytes: int = 100_000) -> bytes:
    app = Gateway(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_bytes
    headers = {} if length is None else {"CONTENT_LENGTH": length}
    environ = {"wsgi.input": socket, "wsgi.input_terminated": True, **headers}
    with app.test_request_context(environ_overrides=environ):
        return request.get_data()


def test_a_body_of_known_length_is_read_in_one_call():
    socket = Socket(b"x" * 99_999)
    assert read_body(socket, length="99999") == b"x" * 99_999
    assert socket.sizes == [99_999]


def test_a_body_that_ends_early_is_not_accepted():
    for pieces in ([b"xyz"], [ConnectionResetError()]):
        with pytest.raises(ClientDisconnected):
            pytest.fail(f"{pieces}: {read_body(Socket(*pieces), length='7')!r}")


def test_a_body_longer_than_the_limit_is_refused_unread():
    socket = Socket(b"x")
    with pytest.raises(RequestEntityTooLarge):
        read_body(socket, length="100001")
    assert socket.sizes == []


def test_a_chunked_body_is_read_to_its_end():
    assert read_body(Socket(b"abc", b"def"), length=None) == b"abcdef"


def test_a_chunked_body_may_be_exactly_as_long_as_the_limit():
    for pieces in ([b"x" * 100], [b"x" * 60, b"x" * 40], [b"x"] * 100):
        assert read_body(Socket(*pieces), length=None, max_bytes=100) == b"x" * 100, pieces


def test_a_chunked_body_one_byte_longer_than_the_limit_is_refused():
    for pieces in ([b"x" * 101], [b"x" * 60, b"x" * 41], [b"x" * 100, b"x"], [b"x"] * 101):
        with pytest.raises(RequestEntityTooLarge):
            pytest.fail(f"{pieces}: {read_body(Socket(*pieces), length=None, max_bytes=100)!r}")


def test_an_empty_body_is_not_waited_for():
    socket = Socket()
    assert read_body(socket, length="0") == b""
    assert sum(socket.sizes) == 0
