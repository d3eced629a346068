import base64
import contextlib
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.base64_text import LostPlusError, Pieces, decode_base64
from gateway.http.long_text import PIECE_BYTES

DATA = os.urandom(3 * PIECE_BYTES + 1)
PHOTOS = Path(__file__).parents[5] / "shared" / "data"
JPEG = b"\xff\xd8\xff"
LINE = 76
PLUSES = b"\xfb\xef\xbe"
"""In base64 these bytes are ++++."""


def pieces(text: bytes, size: int) -> Pieces:
    return lambda: [text[start : start + size] for start in range(0, len(text), size)]


def test_base64_in_pieces_of_any_size_is_decoded():
    text = base64.encodebytes(DATA)
    for size in (1, 3, 75, 4096, PIECE_BYTES):
        assert decode_base64(pieces(text, size)) == DATA, size


ENCODERS = st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])


@given(st.binary(max_size=80), st.integers(0, 4), ENCODERS, st.integers(1, 60))
def test_every_variant_is_decoded(data: bytes, padding: int, encode: Callable[[bytes], bytes], size: int):
    text = encode(data).rstrip(b"=\n") + b"=" * padding
    assert decode_base64(pieces(text, size)) == data


PREFIXES = (
    b"data:image/png;base64,",
    b" \n data:;base64, ",
    b'data:image/png;name="a,b.png";base64,',
    b"DATA:x; BASE64,",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_data_uri_may_have_any_type_and_parameters(prefix: bytes):
    for blank_is_plus in (False, True):
        assert decode_base64(lambda: [prefix + b"QUJD"], blank_is_plus=blank_is_plus) == b"ABC"


def test_text_after_the_padding_is_refused_also_in_another_piece():
    for parts in ([b"QUI=", b"QUJD"], [b"QUI", b"=", b"Q"], [b"QUI=Q"], [b"=", b"QUJD"], [b"QUI=", b"data:;base64,"]):
        with pytest.raises(ValueError, match="after the padding"):
            decode_base64(lambda parts=parts: parts)


def test_other_characters_and_a_single_digit_are_refused():
    for parts in ([b"QU\xc3"], [b"QUJD", b"%"], [b"Q"], [b"QUJD", b"Q"], [b"data:" + b"x" * 2000 + b";base64,QUJD"]):
        with pytest.raises(ValueError, match=r"."):
            decode_base64(lambda parts=parts: parts)


# In a URL-encoded form, `+` means a blank


def test_a_blank_in_a_form_is_a_plus():
    assert decode_base64(lambda: [b" /9j "], blank_is_plus=True) == base64.b64decode(b"/9j+")
    assert decode_base64(lambda: [b"/9j A B "], blank_is_plus=True) == base64.b64decode(b"/9j+A+B+")
    assert decode_base64(lambda: [b"/9j", b" ", b"    "], blank_is_plus=True) == base64.b64decode(b"/9j+++++")
    assert decode_base64(lambda: [b"/9j A ==  "], blank_is_plus=True) == base64.b64decode(b"/9j+A+==")
    assert decode_base64(lambda: [b"/9j\nA  \nAA  "], blank_is_plus=True) == base64.b64decode(b"/9jA++AA")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
@pytest.mark.parametrize("prefix", [b"", b" ", b"data:image/jpeg;base64,", b"data:image/jpeg;base64, "])
def test_every_plus_that_a_form_has_lost_is_restored(encode: Callable[[bytes], bytes], prefix: bytes):
    generator = random.Random(0)
    for number in range(2000):
        data = JPEG + generator.randbytes(generator.randint(0, 200)) + PLUSES * generator.randint(0, 3)
        sent = prefix + encode(data).replace(b"+", b" ")
        size = generator.choice([len(prefix) + 1, 50, 1000])

        assert decode_base64(pieces(sent, size), blank_is_plus=True) == data, number


def test_a_file_of_nothing_but_pluses_is_restored():
    data = JPEG + PLUSES * PIECE_BYTES
    sent = base64.b64encode(data).replace(b"+", b" ")

    assert decode_base64(pieces(sent, PIECE_BYTES), blank_is_plus=True) == data


def bitmap(pixels: bytes) -> bytes:
    """Return a BMP of 16 x 16 pixels with zeros behind its end, as some programs write it."""
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + 768 + 6, 0, 0, 54, 40, 16, 16, 1, 24, 0, 768, 1, 1, 0, 0)
    return header + pixels.ljust(768, b"U") + bytes(6)


def test_a_run_of_pluses_is_no_line_separator():
    """Without them the text is complete, and a picture of other pixels."""
    for data in (bitmap(b"U" * 600 + PLUSES), bitmap(b"U" * 60 + 3 * PLUSES)):
        sent = base64.b64encode(data).replace(b"+", b" ")

        assert decode_base64(pieces(sent, 1000), blank_is_plus=True) == data
        with pytest.raises(LostPlusError):
            decode_base64(pieces(sent, 1000))


@pytest.mark.parametrize("prefix", [b"", b"data:image/png;base64, "])
@pytest.mark.parametrize("width", [0, 45, 60, 64, 76])
def test_no_blank_makes_another_picture(prefix: bytes, width: int):
    generator = random.Random(width)
    for number in range(600):
        data = bytearray(JPEG + generator.choice([generator.randbytes, bytes])(generator.randint(0, 300)))
        for _ in range(generator.randint(0, 6)):
            data[(start := 3 * generator.randint(1, 1 + len(data) // 3)) : start + 3] = PLUSES
        text = base64.b64encode(data)
        wrapped = b"\n".join(text[start : start + width] for start in range(0, len(text), width)) if width else text
        sent = prefix + wrapped.replace(b"+", b" ")

        assert decode_base64(lambda sent=sent: [sent], blank_is_plus=True) == data, number
        with contextlib.suppress(LostPlusError):
            assert decode_base64(lambda sent=sent: [sent]) == data, number


@pytest.mark.parametrize("separator", [b" ", b"\n    ", b"\r\n "])
def test_blanks_that_may_separate_lines_or_be_pluses_are_refused(separator: bytes):
    sent = lines(JPEG + random.Random(5).randbytes(5000), separator).replace(b"+", b" ")

    for blank_is_plus in (False, True):
        with pytest.raises(LostPlusError):
            decode_base64(pieces(sent, 1000), blank_is_plus=blank_is_plus)


@pytest.mark.skipif(not PHOTOS.exists(), reason="needs the photos beside the repository")
def test_real_photos_arrive_as_they_were_sent():
    photos = [path for path in sorted(PHOTOS.rglob("*.jp*g")) if path.stat().st_size < 10_000_000]
    assert photos

    for path in photos:
        data = path.read_bytes()
        for encode in (base64.b64encode, base64.encodebytes):
            sent = encode(data).replace(b"+", b" ")
            assert decode_base64(pieces(sent, PIECE_BYTES), blank_is_plus=True) == data, path


# Blanks that separate lines, as in `echo $(base64 FILE)`


def lines(data: bytes, separator: bytes) -> bytes:
    text = base64.b64encode(data)
    return separator.join(text[start : start + LINE] for start in range(0, len(text), LINE))


@pytest.mark.parametrize("separator", [b" ", b"\r\n\t ", b"\n    "])
def test_blanks_between_lines_of_the_same_length_are_dropped(separator: bytes):
    for size in (40, 200, 5000):
        sent = b"  " + lines(DATA[:size], separator) + separator

        for blank_is_plus in (False, True):
            assert decode_base64(pieces(sent, 1000), blank_is_plus=blank_is_plus) == DATA[:size], size


def test_blanks_are_dropped_if_the_text_is_complete_without_them():
    for text, data in (
        (b"QUJD\nQUJD QUJD", b"ABCABCABC"),
        (b"QU JD", b"ABC"),
        (b"QU I=", b"AB"),
        (b"QUJD  QUJDQQ==", b"ABCABCA"),
    ):
        for blank_is_plus in (False, True):
            assert decode_base64(lambda text=text: [text], blank_is_plus=blank_is_plus) == data, text


def test_other_blanks_are_refused_where_none_may_be():
    texts = (
        b"AAAA BBBB CCC",
        b"AAA BBBB",
        b"AAAA BBBB CC DD",
        b"AAAA\nBBBB CC=",
        b"AAA ",
        b"A A B C D",
        b"Q U J D Q Q==",
    )
    for text in texts:
        with pytest.raises(LostPlusError):
            decode_base64(lambda text=text: [text])
        with pytest.raises(LostPlusError):
            decode_base64(pieces(text, 1))


def test_a_form_is_refused_if_it_is_incomplete_with_and_without_a_plus():
    with pytest.raises(LostPlusError):
        decode_base64(lambda: [b"AAA AA A="], blank_is_plus=True)


def test_blanks_at_the_end_are_refused_if_they_may_be_whole_groups():
    """Without them the text is complete, and so it would be with a `+` for each."""
    for end in (b"    ", b"     ", b"\n    "):
        with pytest.raises(LostPlusError):
            decode_base64(lambda end=end: [b"QUJD" + end])
        assert decode_base64(lambda end=end: [b"QUI=" + end]) == b"AB"


def test_blanks_at_both_ends_do_not_matter():
    for text in (b"  QUJD  ", b"\n QUI= \n", b"QUI=  "):
        assert decode_base64(lambda text=text: [text]) in (b"ABC", b"AB")
