"""Forms are read as werkzeug reads them, whatever they look like; the usual ones by our own parser."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser
from werkzeug.test import encode_multipart

from gateway.bodies import MULTIPART
from gateway.forms import FormParser, UnusualFormError, read_form

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
        read_form(data, boundary.encode())
    except (UnusualFormError, UnicodeError):
        return False
    return True


def test_files_and_fields_come_in_their_order():
    data = body((FILE, b"one"), (b'Content-Disposition: form-data; name="top_k"', b"3"), (FILE, b"two"))
    form, files = read_form(data, b"x")
    assert list(form.items(multi=True)) == [("top_k", "3")]
    assert [part.read() for part in files.getlist("image")] == [b"one", b"two"]
    assert [(part.filename, part.content_type) for part in files.getlist("image")] == [("a.jpg", "image/jpeg")] * 2


def test_content_may_hold_anything_but_the_boundary():
    content = b"\r\n\r\n--y\r\n--\r\n\x00\xff\n--" * 50
    assert read_form(body((FILE, content)), b"x")[1]["image"].read() == content


@pytest.mark.parametrize("end", [b"--", b"--\r\n"])
def test_usual_forms_are_not_left_to_werkzeug(end: bytes):
    data = body((FILE, b"one"), (HEAD, b"text"), (FILE, b""), (HEAD, b""), end=end)
    assert is_usual(data)
    ours, theirs = both(data)
    assert ours == theirs


def test_what_werkzeugs_own_client_sends_is_usual():
    boundary, data = encode_multipart({"image": (io.BytesIO(b"\x89PNG\r\n\x1a\n"), "ü.png"), "top_k": "3"})
    assert is_usual(data[2:] if data.startswith(b"\r\n") else data, boundary)
    ours, theirs = both(data, boundary)
    assert ours == theirs


UNUSUAL = {
    "nothing": b"",
    "no part": b"--x--\r\n",
    "a preamble": b"hello\r\n" + body((FILE, b"one")),
    "a line break before": b"\r\n" + body((FILE, b"one")),
    "an epilogue": body((FILE, b"one")) + b"bye",
    "cut off in the content": body((FILE, b"one"))[:-8],
    "cut off in the headers": b"--x\r\nContent-Disp",
    "line feeds alone": body((FILE, b"one")).replace(b"\r\n", b"\n"),
    "blanks behind the boundary": body((FILE, b"one")).replace(b"--x\r\n", b"--x  \r\n"),
    "a boundary that goes on": body((FILE, b"one\r\n--xy\r\ntwo")),
    "a boundary within a line": body((FILE, b"one --x two")),
    "a continued header": body((HEAD + b';\r\n filename="a.jpg"', b"one")),
    "a header without a colon": body((HEAD + b"\r\nnonsense", b"one")),
    "no disposition": body((b"Content-Type: image/jpeg", b"one")),
    "no name": body((b"Content-Disposition: form-data", b"one")),
    "another disposition": body((b'Content-Disposition: attachment; name="image"', b"one")),
    "a field with a type": body((HEAD + b"\r\nContent-Type: text/plain; charset=iso-8859-1", b"\xfc")),
    "a field that is no UTF-8": body((HEAD, b"\xff")),
    "a header that is no UTF-8": body((HEAD + b"; filename=\xff", b"one")),
    "an end in the middle": body((FILE, b"one")) + body((FILE, b"two")),
}


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
