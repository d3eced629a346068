import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import image_files as files
from vision import decode as decode_module
from vision.decode import read_header, sniff
from vision.errors import ImageError, OutOfMemoryError, UnreadableImageError, UnsupportedFormatError
from vision.headers.header import ImageFormat
from vision.headers.tiff import exif_orientation

BLANK = np.zeros((21, 34, 3), np.uint8)
GRADIENT = np.dstack([np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, axis=0).repeat(3, axis=1)] * 3)
EXTENSIONS = {
    ".jpg": ImageFormat.JPEG,
    ".png": ImageFormat.PNG,
    ".webp": ImageFormat.WEBP,
    ".gif": ImageFormat.GIF,
    ".bmp": ImageFormat.BMP,
    ".avif": ImageFormat.AVIF,
    ".tiff": ImageFormat.TIFF,
}
PALETTE = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


def size_of(data: bytes) -> tuple[int, int]:
    header = read_header(data)
    return header.width, header.height


# All formats


@pytest.mark.parametrize(("extension", "image_format"), EXTENSIONS.items())
def test_format_and_size_are_read_from_an_encoders_file(extension, image_format):
    data = files.encoded(GRADIENT, extension)

    header = read_header(data)

    assert sniff(data) is image_format
    assert (header.format, header.width, header.height) == (image_format, 48, 32)
    assert read_header(memoryview(data)) == header
    assert read_header(memoryview(data)[:]) == header


OTHER_FORMATS = {
    "text": b"BLAH",
    "zeros": b"\0" * 64,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pdf": b"%PDF-1.7",
    "short jpeg": b"\xff\xd8",
    "gif of a later version": b"GIF90a",
    "wave": b"RIFF\0\0\0\0WAVE",
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "jpeg xl": b"\xff\x0a",
    "pixmap": b"P6 1 1 255 \0\0\0",
    "radiance": b"#?RADIANCE\n",
}


@pytest.mark.parametrize("data", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_other_formats_are_rejected(data):
    assert sniff(data) is None
    with pytest.raises(UnsupportedFormatError, match="JPEG, PNG, WEBP, GIF, BMP, AVIF, "):
        read_header(data)


def test_an_empty_file_is_unreadable():
    with pytest.raises(UnreadableImageError, match="0 bytes"):
        read_header(b"")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_truncated_header_is_unreadable(extension):
    data = files.encoded(BLANK, extension)
    first, last = {".jpg": (3, 30), ".webp": (12, 25), ".avif": (32, 90), ".bmp": (2, 30), ".tiff": (4, 30)}.get(
        extension, (8, 30)
    )

    for length in range(first, last):
        with pytest.raises(UnreadableImageError):
            read_header(data[:length])


@settings(max_examples=300, deadline=None)
@given(extension=st.sampled_from(list(EXTENSIONS)), data=st.data())
def test_a_damaged_header_is_read_or_raises_an_image_error(extension, data):
    damaged = bytearray(files.encoded(GRADIENT, extension))
    for _ in range(data.draw(st.integers(0, 8))):
        position = data.draw(st.integers(0, min(len(damaged), 400) - 1))
        damaged[position] = data.draw(st.integers(0, 255))

    try:
        header = read_header(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    except ImageError:
        return

    assert header.width >= 1
    assert header.height >= 1


SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0", b"MM\0+"]


@settings(max_examples=300, deadline=None)
@given(signature=st.sampled_from([*SIGNATURES, b"\0\0\0\x14ftypavif\0\0\0\0avif"]), rest=st.binary(max_size=300))
def test_noise_after_a_signature_raises_only_image_errors(signature, rest):
    try:
        read_header(signature + rest)
    except ImageError:
        return


PLAIN = {
    "jpeg": files.encoded(GRADIENT, ".jpg"),
    "progressive jpeg": files.encoded(GRADIENT, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "gray jpeg": files.encoded(GRADIENT[..., 0], ".jpg"),
    "jpeg with what a phone appends": files.encoded(GRADIENT, ".jpg") + files.encoded(BLANK, ".jpg") + b"MotionPhoto",
    "png": files.encoded(GRADIENT, ".png"),
    "png with transparency": files.encoded(np.dstack([GRADIENT, GRADIENT[..., :1]]), ".png"),
    "png with metadata": files.png_with(files.encoded(GRADIENT, ".png"), files.png_chunk(b"eXIf", files.exif_block(6))),
    "webp": files.encoded(GRADIENT, ".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": files.encoded(GRADIENT, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "webp with transparency": files.encoded(np.dstack([GRADIENT, GRADIENT[..., :1]]), ".webp"),
    "webp with metadata": files.encoded_with_orientation(GRADIENT, ".webp", 6),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_ordinary_files_are_plain(data):
    assert read_header(data).is_plain


def cmyk_jpeg() -> bytes:
    """Return a JPEG whose frame declares four components."""
    data = files.encoded(BLANK, ".jpg")
    frame = data.index(b"\xff\xc0")
    length = struct.pack(">H", 8 + 3 * 4)
    return (
        data[: frame + 2]
        + length
        + data[frame + 4 : frame + 9]
        + b"\4"
        + data[frame + 10 : frame + 19]
        + (b"\4\x11\1" + data[frame + 19 :])
    )


NOT_PLAIN = {
    "cmyk jpeg": cmyk_jpeg(),
    "arithmetic jpeg": files.encoded(GRADIENT, ".jpg").replace(b"\xff\xc0", b"\xff\xc9"),
    "lossless jpeg": files.encoded(GRADIENT, ".jpg").replace(b"\xff\xc0", b"\xff\xc3"),
    "jpeg of 12 bits": files.encoded(GRADIENT, ".jpg").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
    "png of 16 bits": files.encoded(GRADIENT.astype(np.uint16), ".png"),
    "animated png": files.png_with(files.encoded(GRADIENT, ".png"), files.png_chunk(b"acTL", bytes(8))),
    "png with an unknown critical chunk": files.png_with(files.encoded(GRADIENT, ".png"), files.png_chunk(b"TeSt")),
    "gif": files.encoded(GRADIENT, ".gif"),
    "bmp": files.encoded(GRADIENT, ".bmp"),
    "avif": files.encoded(GRADIENT, ".avif"),
    "tiff": files.encoded(GRADIENT, ".tiff"),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_unusual_files_are_not_plain(data):
    assert not read_header(data).is_plain


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        *((error, UnreadableImageError) for error in (ZeroDivisionError, KeyError, ValueError, RecursionError)),
        (MemoryError, OutOfMemoryError),
    ],
)
def test_whatever_a_parser_raises_is_an_image_error(raised, expected, monkeypatch):
    def fail(_: memoryview) -> None:
        raise raised

    monkeypatch.setitem(decode_module._READERS, ImageFormat.BMP, fail)

    with pytest.raises(expected):
        read_header(files.encoded(BLANK, ".bmp"))


# JPEG


def test_jpeg_reads_the_frame_that_libjpeg_reads():
    data = files.encoded(BLANK, ".jpg")
    thumbnail = files.encoded(np.zeros((99, 99, 3), np.uint8), ".jpg")
    app1 = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    garbage = b"\0\1\2\xff\0\xff\xff"

    assert size_of(data[:2] + app1 + garbage + data[2:]) == (34, 21)


def test_jpeg_with_two_frame_headers_has_the_size_of_the_first():
    data = files.encoded(BLANK, ".jpg")
    frame = data.index(b"\xff\xc0")
    second = bytearray(data[frame : frame + 19])
    second[5:9] = struct.pack(">HH", 60_000, 60_000)

    doubled = data[: frame + 19] + bytes(second) + data[frame + 19 :]

    assert size_of(doubled) == (34, 21)
    assert cv2.imdecode(np.frombuffer(doubled, np.uint8), cv2.IMREAD_COLOR) is None, "libjpeg rejects it"


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB])
def test_jpeg_frames_of_every_type(frame):
    data = files.encoded(BLANK, ".jpg").replace(b"\xff\xc0", bytes([0xFF, frame]))

    assert size_of(data) == (34, 21)


def test_jpeg_without_scan_is_unreadable():
    data = files.encoded(BLANK, ".jpg")

    with pytest.raises(UnreadableImageError, match="no image"):
        read_header(data[: data.index(b"\xff\xda")])


def test_jpeg_with_too_many_scans_is_rejected():
    data = files.encoded(BLANK, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last_scan = data[data.rindex(b"\xff\xda") : -2]

    assert size_of(data[:-2] + last_scan * 50 + data[-2:]) == (34, 21)
    with pytest.raises(UnreadableImageError, match="more than 100 scans"):
        read_header(data[:-2] + last_scan * 100 + data[-2:])


def test_jpeg_scan_markers_after_the_only_scan_do_not_count():
    data = files.encoded(BLANK, ".jpg")

    assert size_of(data + b"\xff\xda" * 200) == (34, 21)


@pytest.mark.parametrize("filler", [b"\xff\xd0", b"\xff\xfe\0\2", b"\xff\0", b"\xff"], ids=["RST", "COM", "FF00", "FF"])
def test_jpeg_of_a_million_fillers_is_rejected(filler):
    with pytest.raises(UnreadableImageError):
        read_header(b"\xff\xd8\xff\xd0" + filler * 1_000_000)


def test_jpeg_scan_markers_after_the_image_do_not_count():
    data = files.encoded(BLANK, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)

    assert read_header(data + data * 20).is_plain


def test_jpeg_with_an_end_marker_within_a_segment_has_all_its_scans():
    data = files.encoded(BLANK, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    comment = b"\xff\xfe\0\4\xff\xd9"

    assert not read_header(data[:-2] + comment + last_scan * 50 + data[-2:]).is_plain
    with pytest.raises(UnreadableImageError, match="scans"):
        read_header(data[:-2] + comment + last_scan * 100 + data[-2:])


def test_jpeg_with_many_exif_blocks_is_not_plain():
    data = files.encoded(BLANK, ".jpg")
    exif = b"Exif\0\0" + files.exif_block(6)
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif

    assert read_header(data[:2] + app1 * 4 + data[2:]).is_plain
    assert not read_header(data[:2] + app1 * 5 + data[2:]).is_plain


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(9, 0, "components"), (9, 5, "components"), (11, 0x51, "sampling")]
)
def test_jpeg_with_an_invalid_frame_header_is_rejected(offset, value, reason):
    data = bytearray(files.encoded(BLANK, ".jpg"))
    data[data.index(b"\xff\xc0") + offset] = value

    with pytest.raises(UnreadableImageError, match=reason):
        read_header(bytes(data))


# PNG


@pytest.mark.parametrize("kind", [b"IDAT", b"PLTE"])
def test_png_without_image_data_is_rejected(kind):
    """OpenCV reads on behind IEND, and takes the memory that a chunk there declares."""
    data = files.encoded(BLANK, ".png")

    with pytest.raises(UnreadableImageError, match="no image data"):
        read_header(data[:33] + files.png_chunk(b"IEND") + struct.pack(">I4s", 0xFFFF_FFF0, kind))


def test_png_reaches_the_decoder_without_metadata_and_without_what_follows_its_end():
    data = files.encoded(GRADIENT, ".png")
    described = files.png_with(data, files.png_chunk(b"iCCP", b"a\nname\0\0"), files.png_chunk(b"tIME", bytes(7)))

    assert read_header(described + struct.pack(">I4s", 0xFFFF_FFF0, b"IDAT")).still == data


@pytest.mark.parametrize(("depth", "color"), [(0, 0), (3, 0), (32, 0), (4, 2), (16, 3), (1, 4), (2, 6), (8, 1), (8, 7)])
def test_png_of_a_depth_that_its_colour_type_does_not_have_is_rejected(depth, color):
    data = files.png(1, 1, depth, color, bytes(9), files.png_chunk(b"tRNS", bytes(6)))

    with pytest.raises(UnreadableImageError, match=f"{depth} bits per sample are not valid for colour type {color}"):
        read_header(data)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS"])
def test_png_with_a_chunk_twice_is_rejected(kind):
    data = files.png_with(files.encoded(BLANK, ".png"), *[files.png_chunk(kind, bytes(13))] * 2)

    with pytest.raises(UnreadableImageError, match="appears twice"):
        read_header(data)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("key", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_png_orientation_is_read_from_a_raw_profile(kind, key):
    exif = b"Exif\0\0" + files.exif_block(6)
    profile = b"\nexif\n%8d\n%s\n%s\n" % (len(exif), exif[:20].hex().encode(), exif[20:].hex().encode())
    text = key + b"\0" + (profile if kind == b"tEXt" else b"\0" + zlib.compress(profile))

    assert read_header(files.png_with(files.encoded(BLANK, ".png"), files.png_chunk(kind, text))).orientation == 6


@pytest.mark.parametrize("text", [b"", b"\0x\x9c", b"\nexif\n9\nno digits", b"\nexif", b"\xff\n\n\n\n\n"])
def test_png_with_a_damaged_raw_profile_is_upright(text):
    for kind in (b"tEXt", b"zTXt"):
        chunk = files.png_chunk(kind, b"Raw profile type exif\0" + text)

        assert read_header(files.png_with(files.encoded(BLANK, ".png"), chunk)).orientation == 1


def test_png_with_a_chunk_beyond_the_end_is_rejected():
    data = files.encoded(BLANK, ".png")
    huge = struct.pack(">I4s", 0x7FFFFFFF, b"IDAT")

    with pytest.raises(UnreadableImageError, match="ends within a chunk"):
        read_header(data[:33] + huge + data[33:])


def test_png_must_begin_with_its_header_chunk():
    data = files.encoded(BLANK, ".png")

    with pytest.raises(UnreadableImageError, match="IHDR"):
        read_header(data[:8] + files.png_chunk(b"tIME", b"\0" * 7) + data[8:])


def test_png_with_too_many_compressed_texts_is_rejected():
    data = files.encoded(BLANK, ".png")
    text = files.png_chunk(b"zTXt", b"k\0\0" + b"x\x9c\x03\0\0\0\0\1")

    assert size_of(files.png_with(data, *[text] * 16)) == (34, 21)
    with pytest.raises(UnreadableImageError, match="compressed text"):
        read_header(files.png_with(data, *[text] * 17))


def test_png_with_too_many_chunks_is_rejected():
    data = files.encoded(BLANK, ".png")

    with pytest.raises(UnreadableImageError, match="more than 65536 chunks"):
        read_header(files.png_with(data, files.png_chunk(b"teSt") * 70_000))


def test_png_animation_is_reduced_to_its_static_image():
    data = files.encoded(GRADIENT, ".png")
    animated = files.png_with(
        data, files.png_chunk(b"acTL", struct.pack(">II", 2, 0)), files.png_chunk(b"fcTL", b"\0" * 26)
    )
    animated = animated[:-12] + files.png_chunk(b"fdAT", b"\0" * 9) + animated[-12:]

    header = read_header(animated)

    assert header.still == data
    assert read_header(data).still is None


# WebP


LOSSY = (b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 300 | 1 << 14, 200 | 2 << 14))
LOSSLESS = (b"VP8L", b"\x2f" + struct.pack("<I", 299 | 199 << 14))


def canvas(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8X", b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


@pytest.mark.parametrize("frame", [LOSSY, LOSSLESS], ids=["lossy", "lossless"])
def test_webp_frame_has_the_size_of_the_file(frame):
    assert size_of(files.webp(frame)) == (300, 200)


def test_webp_header_has_the_sizes_of_canvas_and_frame():
    header = read_header(files.webp(canvas(70_000, 66_000), (b"ICCP", b"odd"), (b"ALPH", b""), LOSSY))

    assert (header.width, header.height) == (70_000, 66_000)
    assert header.inner_sizes == ((300, 200),)


def test_webp_animation_has_the_size_of_its_first_frame():
    frame = LOSSLESS[0] + struct.pack("<I", len(LOSSLESS[1])) + LOSSLESS[1]

    header = read_header(
        files.webp(canvas(310, 210), (b"ANIM", b"\0" * 6), (b"ANMF", b"\2\0\0\3" + b"\0" * 12 + frame))
    )

    assert (header.width, header.height, header.inner_sizes) == (310, 210, ((300, 200),))
    assert header.frame == (4, 6, 304, 206)


@pytest.mark.parametrize("chunks", [[canvas(10, 10)], [(b"junk", b"")] * 2_000], ids=["no frame", "junk"])
def test_webp_without_frame_is_unreadable(chunks):
    with pytest.raises(UnreadableImageError):
        read_header(files.webp(*chunks))


def test_webp_reaches_the_decoder_without_metadata_further_frames_and_what_follows_its_end():
    frame = (b"ANMF", bytes(16) + LOSSLESS[0] + struct.pack("<I", len(LOSSLESS[1])) + LOSSLESS[1])
    with_exif = (b"VP8X", b"\x2e" + canvas(300, 200)[1][1:])
    anim = (b"ANIM", bytes(6))

    header = read_header(files.webp(with_exif, (b"ICCP", b"x"), anim, frame, frame, (b"EXIF", b"y")) + b"more")

    assert header.still == files.webp(LOSSLESS)
    assert read_header(files.webp(LOSSY)).still is None


def test_webp_orientation_is_that_of_its_exif_if_the_canvas_announces_one():
    exif = (b"EXIF", files.exif_block(6))

    for flags, orientation in ((8, 6), (0, 1)):
        vp8x = (b"VP8X", bytes([flags]) + canvas(300, 200)[1][1:])
        assert read_header(files.webp(vp8x, LOSSY, exif)).orientation == orientation


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (files.webp(canvas(9, 9), canvas(300, 200), LOSSY), "VP8X appears twice"),
        (files.webp(LOSSY, LOSSY), "appears twice"),
        (files.webp(LOSSY, LOSSLESS), "two kinds"),
        (files.webp(canvas(300, 200), (b"ALPH", b""), (b"ALPH", b""), LOSSY), "ALPH appears twice"),
        (files.webp(LOSSY)[:-1], "ends within a chunk"),
        (files.webp(canvas(299, 200), (b"ANMF", bytes(16) + files.webp(LOSSY)[12:])), "beyond the canvas"),
        (files.webp((b"VP8 ", b"\x11" + LOSSY[1][1:])), "not a VP8 key frame"),
        (files.webp((b"VP8L", b"\x2e" + LOSSLESS[1][1:])), "signature"),
    ],
)
def test_webp_that_is_ambiguous_or_damaged_is_rejected(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_header(data)


# GIF


def test_gif_header_has_the_sizes_of_screen_and_first_frame():
    frame = files.gif_frame(np.zeros((4, 7), np.uint8))
    comment = b"\x21\xfe" + files.gif_blocks(b"made for a test " * 40)

    header = read_header(files.gif((30, 20), PALETTE, comment, files.gif_transparency(1), frame, frame))

    assert (header.width, header.height, header.inner_sizes) == (30, 20, ((7, 4),))


def test_gif_without_frame_is_unreadable():
    with pytest.raises(UnreadableImageError, match="no frame"):
        read_header(files.gif((30, 20), PALETTE, b"\x21\xfe\0"))


@pytest.mark.parametrize(
    "junk", [b"\x21\xfe\0" * 200_000, b"\x21\xfe" + files.gif_blocks(bytes(200_000), size=1)], ids=["empty", "long"]
)
def test_gif_with_too_many_blocks_is_rejected(junk):
    with pytest.raises(UnreadableImageError, match="more than 131072 blocks"):
        read_header(files.gif((2, 2), PALETTE, junk))


# BMP


def test_bmp_with_a_core_header_has_a_size():
    data = b"BM" + b"\0" * 8 + struct.pack("<IIHHHH", 26, 12, 300, 200, 1, 24)

    assert size_of(data) == (300, 200)
    assert not read_header(data).unchanged


@pytest.mark.parametrize("masks", [(0, 0xFF00, 0xFF), (0xF0F0, 0xFF00, 0xFF), (0xFF0, 0xFF00, 0xF)])
def test_bmp_of_masks_that_are_not_separate_runs_of_bits_is_rejected(masks):
    header = struct.pack("<IIiiHHI", 66, 40, 3, 2, 1, 32, 3) + bytes(20) + struct.pack("<III", *masks)

    with pytest.raises(UnreadableImageError, match="masks"):
        read_header(b"BM" + bytes(8) + header)


def test_bmp_of_a_header_that_is_larger_than_any_is_rejected():
    with pytest.raises(UnreadableImageError, match="a header of 168 bytes"):
        read_header(b"BM" + bytes(8) + struct.pack("<IIiiHHI", 66, 168, 3, 2, 1, 24, 0))


def test_bmp_of_negative_height_is_stored_from_the_top():
    data = b"BM" + b"\0" * 8 + struct.pack("<IIiiHHI", 54, 40, 300, -200, 1, 24, 0)

    assert size_of(data) == (300, 200)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-5, 5)])
def test_bmp_without_pixels_is_unreadable(width, height):
    with pytest.raises(UnreadableImageError, match="a size of"):
        read_header(b"BM" + b"\0" * 8 + struct.pack("<IIiiHHI", 54, 40, width, height, 1, 24, 0))


# TIFF


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_and_big_tiff_in_both_byte_orders_have_a_size(order, big):
    data = files.tiff(BLANK, order=order, big=big)

    assert size_of(data) == (34, 21)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (21, 34, 3)


def test_tiff_header_has_the_size_of_tiles():
    assert read_header(files.tiff(BLANK, {322: (16_000,), 323: (16_016,)})).inner_sizes == ((16_000, 16_016),)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({256: ()}, "a size of 0 x 21"),
        ({339: (3, 3, 3)}, "unsigned integers"),  # floating-point
        ({339: (2, 2, 2)}, "unsigned integers"),  # signed
    ],
)
def test_tiff_without_unsigned_integers_is_rejected(tags, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_header(files.tiff(BLANK, tags))


@pytest.mark.parametrize("tag", [322, 323])
def test_tiff_tile_of_one_side_is_rejected(tag):
    """OpenCV takes the image's other side, whatever the size of this one."""
    with pytest.raises(UnreadableImageError, match="a tile of"):
        read_header(files.tiff(BLANK, {tag: (1_700_000,)}))


def test_tiff_header_has_the_size_of_a_strip_that_is_taller_than_the_image():
    """OpenCV allocates all its rows."""
    assert read_header(files.tiff(BLANK, {278: (1 << 24,)})).inner_sizes == ((34, 1 << 24),)
    assert read_header(files.tiff(BLANK, {278: ((1 << 32) - 1,)})).inner_sizes == ((34, 21),)


@pytest.mark.parametrize("tag", [256, 257, 258, 274, 277, 278, 322])
def test_tiff_with_a_negative_value_is_rejected(tag):
    data = bytearray(files.tiff(BLANK, {tag: (5,), 323: (16,)}))
    directory = struct.unpack_from("<I", data, 4)[0]
    entries = range(directory + 2, len(data) - 12, 12)
    entry = next(entry for entry in entries if struct.unpack_from("<H", data, entry)[0] == tag)
    struct.pack_into("<HIh", data, entry + 2, 8, 1, -5)  # SSHORT

    with pytest.raises(UnreadableImageError, match="negative"):
        read_header(bytes(data))


@pytest.mark.parametrize("tags", [{258: (0,)}, {258: (65,)}, {277: (0,)}, {277: (65,)}])
def test_tiff_of_unsupported_samples_is_rejected(tags):
    with pytest.raises(UnreadableImageError, match="are not supported"):
        read_header(files.tiff(BLANK, tags))


@pytest.mark.parametrize("offset", [9, 100, 0xFFFF_FFF0])
def test_tiff_with_a_directory_outside_the_file_is_unreadable(offset):
    with pytest.raises(UnreadableImageError):
        read_header(b"II*\0" + struct.pack("<I", offset) + bytes(8))


def test_big_tiff_with_an_offset_beyond_all_memory_is_unreadable():
    with pytest.raises(UnreadableImageError):
        read_header(b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(32))


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_is_read_with_and_without_prefix(order):
    for orientation in range(1, 9):
        exif = files.exif_block(orientation, order)

        assert exif_orientation(exif) == orientation
        assert exif_orientation(b"Exif\0\0" + exif) == orientation


@pytest.mark.parametrize(
    "exif", [b"", b"MM", b"Exif\0\0", files.exif_block(0), files.exif_block(9), files.exif_block(6)[:18]]
)
def test_exif_without_a_valid_orientation_is_upright(exif):
    assert exif_orientation(exif) == 1


@given(st.binary(max_size=100))
def test_exif_noise_has_a_valid_orientation(noise):
    assert exif_orientation(b"II*\0" + noise) in range(1, 9)


# AVIF


SMALL = files.av1_payload(files.encoded(BLANK, ".avif"))


@pytest.mark.parametrize(
    ("properties", "orientation"),
    [
        ([], 1),
        ([files.box(b"irot", b"\1")], 8),
        ([files.box(b"irot", b"\3")], 6),
        ([files.box(b"imir", b"\0")], 4),
        ([files.box(b"irot", b"\1"), files.box(b"imir", b"\1")], 7),
    ],
)
def test_avif_orientation_follows_irot_and_imir(properties, orientation):
    numbers = range(1, len(properties) + 2)

    data = files.avif([(b"av01", SMALL, list(numbers))], [files.ispe(34, 21), *properties])

    assert read_header(data).orientation == orientation


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (files.avif([(b"av01", SMALL, [])], [files.ispe(34, 21)]), "no image with a size"),
        (files.avif([(b"av01", SMALL, [1])], [files.ispe(34, 21)])[:-60], "extends beyond the end"),
        (files.avif([(b"av01", SMALL, [1])] * 2, [files.ispe(34, 21)], in_idat=True)[:-4], "extends beyond the end"),
        (files.box(b"ftyp", b"avif", b"\0" * 4), "no image"),
        (files.box(b"ftyp", b"avif", b"\0" * 4) + files.box(b"free") * 5_000, "boxes"),
    ],
)
def test_avif_that_is_damaged_is_rejected(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_header(data)


FRAME = files.av1_obu(6, [(0, 32)])


def rationals(*values: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">iI", *value) for value in values)


@pytest.mark.parametrize(
    ("clap", "crop"),
    [
        ([(10, 1), (8, 1), (0, 1), (0, 1)], (12, 6, 22, 14)),
        ([(10, 1), (8, 1), (-12, 1), (-12, 2)], (0, 0, 10, 8)),
        ([(10, 1), (7, 1), (0, 1), (0, 1)], (12, 7, 22, 14)),
        ([(10, 1), (8, 1), (1, 2), (0, 1)], None),  # half a pixel to the right
        ([(10, 1), (8, 1), (13, 1), (0, 1)], None),  # beyond the edge
        ([(10, 0), (8, 1), (0, 1), (0, 1)], None),
    ],
)
def test_avif_crop_is_a_clean_aperture_of_whole_pixels_within_the_image(clap, crop):
    height = 21 if clap[1] == (7, 1) else 20

    data = files.avif([(b"av01", SMALL, [1, 2])], [files.ispe(34, height), files.box(b"clap", rationals(*clap))])

    assert read_header(data).crop == crop


def test_avif_without_a_primary_image_has_the_size_of_its_track():
    tkhd = files.box(b"tkhd", bytes(76) + struct.pack(">II", 34 << 16, 21 << 16))
    audio = files.box(b"trak", files.box(b"tkhd", bytes(84)))

    data = files.box(b"ftyp", b"avis", bytes(4)) + files.box(b"moov", audio, files.box(b"trak", tkhd))

    assert size_of(data) == (34, 21)


# HEIC


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"])
def test_heic_is_recognised_by_its_brands(brand):
    assert sniff(files.box(b"ftyp", b"xxxx", bytes(4), brand)) is ImageFormat.HEIC
    assert sniff(files.box(b"ftyp", brand, bytes(4), b"avif")) is ImageFormat.AVIF


def test_heic_that_is_not_decoded_here_says_what_to_do(monkeypatch):
    monkeypatch.setattr(decode_module, "_decodes_heic", lambda: False)

    with pytest.raises(UnsupportedFormatError, match=r"This is HEIC.*Most Compatible.*extra `heif`") as caught:
        read_header(files.box(b"ftyp", b"heic", bytes(4), b"mif1"))

    assert caught.value.kind == "HEIC, as iPhones take photos"
    assert ImageFormat.HEIC not in decode_module.accepted_formats()
