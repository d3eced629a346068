"""Every form is parsed as werkzeug parses it, in linear time; data may also hold what looks like a boundary."""

import io

import pytest
from flask import request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from gateway.app import Gateway
from gateway.capacity import PLACE_BYTES
from gateway.errors import BadRequestError
from gateway.http import bodies
from gateway.http.bodies import MAX_BOUNDARY_LENGTH, MAX_PART_HEADERS_BYTES, MULTIPART, parse_multipart
from gateway.http.long_text import LONG_TEXT_BYTES, LongText
from tests.support.multipart import encode

HEAD = b'Content-Disposition: form-data; name="image"'
FILE = HEAD + b'; filename="a.jpg"\r\nContent-Type: image/jpeg'


def body(*parts: tuple[bytes, bytes], end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--x" + end


def in_memory(*_: object, **__: object) -> io.BytesIO:
    """Return the stream for a file; werkzeug's default is a temporary file that must be closed."""
    return io.BytesIO()


def parse(data: bytes, boundary: str = "x", max_parts: int | None = None):
    form, files = parse_multipart(data, boundary.encode(), max_parts=max_parts)
    contents = [(name, part.filename, part.content) for name, part in files.items(multi=True)]
    return list(form.items(multi=True)), contents


def parse_as_werkzeug(data: bytes, boundary: str = "x"):
    parser = FormDataParser(in_memory)
    _, form, files = parser.parse(io.BytesIO(data), MULTIPART, len(data), {"boundary": boundary})
    contents = [(name, part.filename, part.stream.read()) for name, part in files.items(multi=True)]
    return list(form.items(multi=True)), contents


def test_files_and_fields_keep_their_order():
    data = body((FILE, b"one"), (b'Content-Disposition: form-data; name="top_k"', b"3"), (FILE, b"two"))

    form, files = parse_multipart(data, b"x")

    assert list(form.items(multi=True)) == [("top_k", "3")]
    assert [part.content for part in files.getlist("image")] == [b"one", b"two"]
    assert [part.filename for part in files.getlist("image")] == ["a.jpg"] * 2


def test_content_may_hold_any_bytes_except_the_boundary():
    content = b"\r\n\r\n--y\r\n--\r\n\x00\xff\n--" * 50
    assert parse_multipart(body((FILE, content)), b"x")[1]["image"].content == content


def test_usual_forms_are_parsed_as_werkzeug_parses_them():
    for end in (b"--", b"--\r\n"):
        data = body((FILE, b"one"), (HEAD, b"text"), (FILE, b""), (HEAD, b""), end=end)
        assert parse(data) == parse_as_werkzeug(data), end
        assert len(parse(data)[1]) == 2, end


def test_a_form_sent_by_curl_is_parsed_as_werkzeug_parses_it():
    content_type, data = encode({"image": (io.BytesIO(b"\x89PNG\r\n\x1a\n"), "ü.png"), "top_k": "3"})
    boundary = content_type.partition("boundary=")[2]
    assert parse(data, boundary) == parse_as_werkzeug(data, boundary)
    assert parse(data, boundary)[1] == [("image", "ü.png", b"\x89PNG\r\n\x1a\n")]


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
    "a boundary within a line, and no headers": body((FILE, b"one\r\n--xy\r\ntwo")),
    "text after the last boundary": body((FILE, b"one"), end=b"--bye"),
    "blanks after the last boundary": body((FILE, b"one"), end=b"--  \r\nbye"),
    "no blank line before a boundary": body((HEAD, b""), (HEAD, b"")).replace(b"\r\n\r\n\r\n", b"\r\n\r\n"),
    "other blank lines": body((HEAD, b"one")).replace(b"\r\n\r\n", b"\r\r\n"),
    "a header twice": body((FILE + b"\r\n" + HEAD, b"one")),
    "an unknown character set": body((HEAD + b"\r\nContent-Type: text/plain; charset=utf-16", b"\xfc")),
    "an end in the middle": body((FILE, b"one")) + body((FILE, b"two")),
}


NOTHING: tuple[list[object], list[object]] = ([], [])


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_form_is_parsed_as_werkzeug_parses_it_or_refused_if_that_finds_nothing(name: str):
    ours, theirs = outcome(parse, UNUSUAL[name]), outcome(parse_as_werkzeug, UNUSUAL[name])

    assert ours == theirs or (ours, theirs) == (BadRequestError, NOTHING)


LOOKALIKES = (
    b"--x",
    b"--x\r\n",
    b"--x--",
    b"--x\r\nabc",
    b"one--x\r\nA: b\r\n\r\n",
    b"one\r\n--x two",
    b"one\n--x\r\n\x00\xff\n--x--\x00",
    b"one\r--x\n\x00",
    b"one\r\n--x--two\r\n--xx--\r\n",
    b"\n--x" * 400,
)


@pytest.mark.parametrize("content", LOOKALIKES, ids=range(len(LOOKALIKES)))
def test_content_may_hold_what_looks_like_the_boundary(content: bytes):
    data = body((FILE, content), (HEAD, b"text"), (FILE, content))

    form, files = parse(data, max_parts=3)

    assert form == [("image", "text")]
    assert files == [("image", "a.jpg", content)] * 2


def test_a_boundary_that_occurs_too_often_in_the_content_is_refused():
    with pytest.raises(BadRequestError, match=r"occurs more than 1000 times within its parts\. Use a longer one"):
        parse(body((FILE, b"--x" * 2000)), max_parts=3)


REFUSED = {
    "long headers": body((HEAD + b"\r\nX-Long: " + b"a" * MAX_PART_HEADERS_BYTES, b"one")),
    "long headers of the second part": body((FILE, b"one"), (b"X-Long: " + b"a" * 9000, b"two")),
}


def test_long_headers_are_refused():
    for name, data in REFUSED.items():
        with pytest.raises(BadRequestError, match=f"longer than {MAX_PART_HEADERS_BYTES} bytes"):
            pytest.fail(f"{name}: {parse(data)}")


def test_a_form_that_ends_within_its_headers_was_cut_off():
    for data in (b"--x\r\nContent-Disposition: fo", body((FILE, b"one"))[:-4] + b"\r\nContent-Disposition: fo"):
        with pytest.raises(BadRequestError, match=r"The form ends within the headers of a part: \d+ bytes arrived"):
            pytest.fail(str(parse(data)))


def test_a_boundary_has_a_greatest_length():
    longest = "b" * MAX_BOUNDARY_LENGTH
    data = body((HEAD, b"text")).replace(b"--x", b"--" + longest.encode())
    assert parse(data, longest)[0] == [("image", "text")]

    with pytest.raises(BadRequestError, match="The boundary of the form has 201 characters; at most 200 are accepted"):
        parse(data, longest + "b")


@pytest.mark.parametrize("first", [FILE, HEAD + b";x=1;\r\n y"], ids=["usual", "unusual"])
def test_more_parts_than_the_limit_are_refused(first: bytes):
    form, files = parse(body((first, b"one"), (HEAD, b"a"), (FILE, b"two")), max_parts=3)
    assert len(form) + len(files) == 3

    with pytest.raises(BadRequestError, match="more than 3 parts"):
        parse(body((first, b"one"), *[(FILE, b"two")] * 3), max_parts=3)


def test_a_text_too_long_for_anything_but_an_image_stays_in_the_body():
    data = body((HEAD, b"a" * (LONG_TEXT_BYTES + 1)), (HEAD, b"b" * LONG_TEXT_BYTES))

    (_, long), (_, short) = parse(data)[0]

    assert isinstance(long, LongText)
    assert b"".join(long.pieces()) == b"a" * (LONG_TEXT_BYTES + 1)
    assert short == "b" * LONG_TEXT_BYTES


def outcome(parser, data: bytes) -> object:
    """Return what a form is parsed into, or the class of the error that is raised."""
    try:
        return parser(data)
    except Exception as error:  # noqa: BLE001  # any error counts: both parsers must raise the same
        return type(error)


PIECES = st.sampled_from(
    [b"\r\n", b"--x", b"--x--", b"--", b"\n", b"\r", b": ", b" ", HEAD, FILE, b"one", b"\r\n\r\n", b"\n\n"]
)


@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_every_form_is_parsed_as_werkzeug_parses_it(data: bytes):
    framed = [b"--x\r\n" + data + b"\r\n--x--\r\n", body((HEAD, data)), body((FILE, data), (HEAD, data))]
    for form in framed if b"--x" not in data else []:
        ours = outcome(parse, form)
        assert ours in (outcome(parse_as_werkzeug, form), BadRequestError, NOTHING)


@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_every_content_is_kept_whose_boundaries_have_something_behind_them(data: bytes):
    content = data.replace(b"--x", b"--x\x00")

    assert parse(body((FILE, content), (FILE, content)))[1] == [("image", "a.jpg", content)] * 2


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


def test_a_body_of_known_length_is_read_in_few_calls():
    for length, sizes in ((60_000, [60_000]), (99_999, [PLACE_BYTES, 99_999 - PLACE_BYTES])):
        socket = Socket(b"x" * length)
        assert read_body(socket, length=str(length)) == b"x" * length
        assert socket.sizes == sizes


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


def test_chunks_that_take_much_processor_time_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "MAX_CHUNKS_CPU_S", 0)

    with pytest.raises(BadRequestError, match="too many chunks"):
        read_body(Socket(*[b"x"] * 1000), length=None)
