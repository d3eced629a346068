import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import image_files as files
from vision.decode import (
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
    decode,
    decoded_size,
    read_header,
)

PLENTY = 1_000_000
EXTENSIONS = [".jpg", ".png", ".webp", ".gif", ".bmp", ".avif", ".tiff"]
LOSSLESS = [".png", ".webp", ".bmp", ".tiff"]
WEBP_LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)


def smooth_image(height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """Return an image that lossy formats preserve, without symmetry, and with distinct channels."""
    corners = np.array([[[10, 200, 60], [240, 30, 90]], [[120, 120, 220], [20, 90, 10]]], np.float32)
    image = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).round().astype(np.uint8)
    if channels == 4:
        alpha = np.arange(height * width, dtype=np.uint32) % 256
        image = np.dstack([image, alpha.reshape(height, width).astype(np.uint8)])
    return image


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels that a camera stores if it declares this orientation (EXIF 2.32, table 6)."""
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(stored[orientation])


def composite(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Composite colours onto a background with real numbers."""
    color, alpha = rgba[..., :3].astype(np.float64), rgba[..., 3:].astype(np.float64) / 255
    return np.rint(color * alpha + np.array(background) * (1 - alpha)).astype(np.uint8)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second).mean())


# Pixels


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_format_becomes_rgb(extension):
    data = files.encoded(smooth_image(), extension)

    for buffer in (data, memoryview(data), memoryview(data + b"more")[: len(data)], bytearray(data)):
        image = decode(buffer, max_pixels=PLENTY)

        assert (image.dtype, image.shape) == (np.uint8, (48, 64, 3))
        assert image.flags.c_contiguous
        assert distance(image, smooth_image()) < (20 if extension == ".gif" else 3)  # GIF is dithered


@pytest.mark.parametrize("extension", LOSSLESS)
def test_lossless_formats_preserve_every_pixel(extension):
    noise = np.random.default_rng(1).integers(0, 256, (13, 17, 3), dtype=np.uint8)

    data = files.encoded(noise, extension, *(WEBP_LOSSLESS if extension == ".webp" else ()))

    assert np.array_equal(decode(data, max_pixels=PLENTY), noise)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tiff", ".avif"])
def test_gray_becomes_three_equal_channels(extension):
    gray = smooth_image()[..., 1]

    image = decode(files.encoded(gray, extension), max_pixels=PLENTY)

    assert distance(image, np.dstack([gray] * 3)) < 3
    assert np.array_equal(image[..., 0], image[..., 2])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    extension=st.sampled_from([".png", ".tiff"]),
    seed=st.integers(0, 99),
)
def test_images_of_any_size_are_decoded(height, width, channels, extension, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    if channels == 4:
        noise[..., 3] = 255

    image = decode(files.encoded(noise[..., 0] if channels == 1 else noise, extension), max_pixels=PLENTY)

    assert np.array_equal(image, np.broadcast_to(noise[..., :3], (height, width, 3)))


# Rejected files


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_pixel_limit_is_exact(extension):
    data = files.encoded(smooth_image(48, 64), extension)

    assert decode(data, max_pixels=48 * 64).shape == (48, 64, 3)
    with pytest.raises(TooManyPixelsError, match="64 x 48 = 3072 pixels; at most 3071") as raised:
        decode(data, max_pixels=48 * 64 - 1)
    assert (raised.value.width, raised.value.height, raised.value.limit) == (64, 48, 3071)


def test_inner_sizes_count_against_the_limit():
    with pytest.raises(TooManyPixelsError):
        decode(files.tiff(smooth_image(), {322: (16_000,), 323: (16_000,)}), max_pixels=PLENTY)


@pytest.mark.parametrize("data", [b"plain text", b"\0" * 100, b"<html>", b"P6 2 2 255 " + b"\0" * 12])
def test_other_formats_never_reach_a_decoder(data):
    with pytest.raises(UnsupportedFormatError):
        decode(data, max_pixels=PLENTY)


def test_an_empty_file_is_unreadable():
    with pytest.raises(UnreadableImageError):
        decode(b"", max_pixels=PLENTY)


JPEG_KINDS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize("parameters", JPEG_KINDS.values(), ids=JPEG_KINDS)
def test_a_jpeg_truncated_anywhere_is_rejected(parameters):
    data = files.encoded(smooth_image(), ".jpg", *parameters)

    for length in range(3, len(data)):
        with pytest.raises(UnreadableImageError):
            decode(data[:length], max_pixels=PLENTY)


@pytest.mark.parametrize("extension", [".png", ".webp", ".gif", ".bmp", ".avif", ".tiff"])
def test_other_files_truncated_anywhere_are_rejected(extension):
    data = files.encoded(smooth_image(), extension)
    last = len(data) - (2 if extension == ".gif" else 0)  # the last bytes of a GIF add nothing to its frame

    for length in [*range(13, last, max(1, len(data) // 200)), last - 1]:
        with pytest.raises(ImageError):
            decode(data[:length], max_pixels=PLENTY)


def test_a_truncated_tiff_with_its_directory_first_is_rejected():
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    directory_last = files.tiff(noise)
    pixels, directory = directory_last[16 : 16 + noise.size], directory_last[16 + noise.size :]
    moved = bytearray(b"II*\0" + struct.pack("<I", 16) + bytes(8) + directory)
    start = len(moved)
    for tag in range(struct.unpack_from("<H", moved, 16)[0]):
        entry = 18 + 12 * tag
        if struct.unpack_from("<H", moved, entry)[0] == 273:  # StripOffsets, one SHORT
            struct.pack_into("<I", moved, entry + 8, start)
        elif struct.unpack_from("<I", moved, entry + 8)[0] > noise.size:
            value = struct.unpack_from("<I", moved, entry + 8)[0]
            struct.pack_into("<I", moved, entry + 8, value - noise.size)
    whole = bytes(moved) + pixels

    assert np.array_equal(decode(whole, max_pixels=PLENTY), noise)
    for length in (start, start + 1, start + noise.size // 2, len(whole) - 1):
        with pytest.raises(UnreadableImageError):
            decode(whole[:length], max_pixels=PLENTY)


@settings(max_examples=400, deadline=None)
@given(extension=st.sampled_from(EXTENSIONS), channels=st.sampled_from([3, 4]), data=st.data())
def test_damaged_files_become_an_image_or_an_image_error(extension, channels, data):
    original = smooth_image(24, 32, channels if extension not in {".jpg", ".bmp"} else 3)
    damaged = bytearray(files.encoded(original, extension))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        image = decode(bytes(damaged), max_pixels=PLENTY)
    except ImageError:
        return

    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


# Orientation


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_exif_orientation_is_applied(extension, channels):
    upright = smooth_image(channels=channels)
    if channels == 4:
        upright[..., 3] = 255
    parameters = WEBP_LOSSLESS if extension == ".webp" else ()

    for orientation in range(1, 9):
        stored = stored_as(upright, orientation)
        data = files.encoded_with_orientation(stored, extension, orientation, *parameters)

        image = decode(data, max_pixels=PLENTY)

        assert distance(image, upright[..., :3]) < 3, f"orientation {orientation}"
        assert image.flags.c_contiguous


@pytest.mark.parametrize("kind", ["8-bit", "16-bit", "8-bit alpha", "16-bit alpha"])
def test_tiff_orientation_is_applied(kind):
    upright = smooth_image(channels=4 if "alpha" in kind else 3)
    if "alpha" in kind:
        upright[..., 3] = 255
    samples = upright.astype(np.uint16) * 257 if "16" in kind else upright
    extra = {338: (2,)} if "alpha" in kind else {}

    for orientation in range(1, 9):
        data = files.tiff(stored_as(samples, orientation), {274: (orientation,), **extra})

        image = decode(data, max_pixels=PLENTY)

        assert np.array_equal(image, upright[..., :3]), f"orientation {orientation}"


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_avif_is_rotated_and_mirrored_by_its_properties(axis):
    """irot turns anticlockwise; axis 0 of imir swaps top and bottom, axis 1 left and right (ISO/IEC 23008-12, 6.5)."""
    payload = files.av1_payload(files.encoded(smooth_image(), ".avif"))
    basic = [files.ispe(64, 48), files.av1c(), files.box(b"pixi", b"\0\0\0\0\3\x08\x08\x08")]
    imir = [] if axis is None else [files.box(b"imir", bytes([axis]))]
    essential = 0x80  # libavif requires it of transforming properties

    for turns in range(4):
        properties = [*basic, files.box(b"irot", bytes([turns])), *imir]
        numbers = [1, 2, 3, *(number | essential for number in range(4, len(properties) + 1))]

        image = decode(files.avif([(b"av01", payload, numbers)], properties), max_pixels=PLENTY)

        expected = np.rot90(smooth_image(), turns)
        expected = expected if axis is None else np.flip(expected, axis)
        assert distance(image, expected) < 3, f"{turns} turns"


def test_avif_exif_is_ignored():
    """The encoder converts EXIF's orientation to irot as well; here irot is set to 0 while EXIF is still 6."""
    data = files.encoded_with_orientation(stored_as(smooth_image(), 6), ".avif", 6)
    angle = data.index(b"irot") + 4
    unturned = data[:angle] + b"\0" + data[angle + 1 :]

    assert distance(decode(data, max_pixels=PLENTY), smooth_image()) < 3
    assert distance(decode(unturned, max_pixels=PLENTY), stored_as(smooth_image(), 6)) < 3


# Transparency


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 90)])
@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_alpha_is_composited_onto_the_background(extension, background):
    rgba = np.random.default_rng(3).integers(0, 256, (50, 60, 4), dtype=np.uint8)
    parameters = (*WEBP_LOSSLESS,) if extension == ".webp" else ()
    if extension == ".webp":
        rgba[rgba[..., 3] == 0, 3] = 1  # its encoder drops invisible colours

    data = files.encoded(rgba, extension, *parameters)

    assert np.array_equal(decode(data, max_pixels=PLENTY, background=background), composite(rgba, background))


def test_alpha_is_rounded_to_nearest_for_every_pair():
    color, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    rgba = np.dstack([color, color, color, alpha])

    image = decode(files.encoded(rgba, ".png"), max_pixels=PLENTY, background=(0, 77, 255))

    assert np.array_equal(image, composite(rgba, (0, 77, 255)))


def test_alpha_of_a_large_image_has_no_seams():
    rgba = np.tile(smooth_image(channels=4), (20, 20, 1))

    assert np.array_equal(decode(files.encoded(rgba, ".png"), max_pixels=2_000_000), composite(rgba, (255, 255, 255)))


def test_alpha_of_avif_does_not_mix_colours():
    rgba = smooth_image(channels=4)
    rgba[..., 3] = 255
    rgba[:, :32, 3] = 0

    image = decode(files.encoded(rgba, ".avif", cv2.IMWRITE_AVIF_QUALITY, 100), max_pixels=PLENTY, background=(1, 2, 3))

    assert np.abs(image[:, :31].astype(int) - [1, 2, 3]).max() <= 1
    assert distance(image[:, 33:], rgba[:, 33:, :3]) < 3


def test_png_gray_with_alpha_is_composited():
    rows = b"".join(b"\0" + bytes([gray, 128]) for gray in (0, 100, 255))

    image = decode(files.png(1, 3, 8, 4, rows), max_pixels=PLENTY, background=(255, 0, 0))

    assert image[:, 0].tolist() == [[127, 0, 0], [177, 50, 50], [255, 128, 128]]


def test_png_palette_with_transparency_is_composited():
    palette = files.png_chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    transparency = files.png_chunk(b"tRNS", bytes([0, 255]))

    image = decode(files.png(2, 1, 8, 3, b"\0\0\1", palette, transparency), max_pixels=PLENTY, background=(7, 8, 9))

    assert image.tolist() == [[[7, 8, 9], [40, 50, 60]]]


@pytest.mark.parametrize(("color_type", "pixels"), [(0, bytes([5, 9])), (2, bytes([5, 5, 5, 9, 9, 9]))])
def test_png_with_a_transparent_colour_is_composited(color_type, pixels):
    transparency = files.png_chunk(b"tRNS", b"\0\5" * (1 if color_type == 0 else 3))

    image = decode(files.png(2, 1, 8, color_type, b"\0" + pixels, transparency), max_pixels=PLENTY)

    assert image.tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "expected"),
    [
        (1, b"\x80", 1, [[9, 9, 9], [0, 0, 0]]),
        (2, b"\x60", 1, [[9, 9, 9], [170, 170, 170]]),
        (4, b"\x1f", 1, [[9, 9, 9], [255, 255, 255]]),
        (8, b"\1\xff", 300, [[1, 1, 1], [255, 255, 255]]),
        (16, b"\x12\x34\x12\x35", 0x1234, [[9, 9, 9], [18, 18, 18]]),
    ],
)
def test_png_with_a_transparent_gray_of_any_depth_is_composited(depth, row, transparent, expected):
    transparency = files.png_chunk(b"tRNS", struct.pack(">H", transparent))

    image = decode(files.png(2, 1, depth, 0, b"\0" + row, transparency), max_pixels=PLENTY, background=(9, 9, 9))

    assert image.tolist() == [expected]


PALETTE = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_gif_transparency_is_that_of_the_first_frame():
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    later = files.gif_frame(np.zeros((2, 2), np.uint8))

    data = files.gif(
        (2, 2), PALETTE, files.gif_transparency(2), files.gif_frame(indices), b"\x21\xf9\4\0\0\0\0\0", later
    )

    image = decode(data, max_pixels=PLENTY, background=(9, 9, 9))
    assert image.tolist() == [[[0, 0, 0], [255, 0, 0]], [[9, 9, 9], [0, 0, 255]]]


def test_gif_is_decoded_to_its_first_frame_even_if_a_later_one_is_damaged():
    first, second = (files.gif_frame(np.full((2, 2), index, np.uint8)) for index in (1, 2))

    data = files.gif((2, 2), PALETTE, first, second)

    assert (decode(data, max_pixels=PLENTY) == (255, 0, 0)).all()
    assert (decode(data[:-8], max_pixels=PLENTY) == (255, 0, 0)).all()


def test_png_animation_is_decoded_to_its_static_image():
    control = files.png_chunk(b"acTL", struct.pack(">II", 2, 0))
    frame_control = [
        files.png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 64, 48, 0, 0, 1, 10, 0, 0)) for number in (0, 1)
    ]
    still = files.encoded(smooth_image(), ".png")
    other = files.encoded(255 - smooth_image(), ".png")
    pixels = b"".join(chunk_payloads(other, b"IDAT"))
    frame_data = files.png_chunk(b"fdAT", struct.pack(">I", 2) + pixels)

    animated = files.png_with(still, control, frame_control[0])[:-12] + frame_control[1] + frame_data + still[-12:]

    assert np.array_equal(decode(animated, max_pixels=PLENTY), smooth_image())


def chunk_payloads(data: bytes, kind: bytes):
    position = 8
    while position < len(data):
        length, chunk_kind = struct.unpack_from(">I4s", data, position)
        if chunk_kind == kind:
            yield data[position + 8 : position + 8 + length]
        position += length + 12


def test_bmp_with_an_alpha_mask_is_composited():
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks + bytes(52)
    pixel = bytes([200, 100, 0, 51])  # blue, green, red, and alpha of a fifth

    data = b"BM" + struct.pack("<IHHI", 14 + 108 + 4, 0, 0, 14 + 108) + header + pixel

    assert decode(data, max_pixels=PLENTY).tolist() == [[[204, 224, 244]]]


def test_bmp_with_a_core_header_has_colours():
    header = struct.pack("<IHHHH", 12, 1, 1, 1, 8)
    palette = bytes([1, 2, 3]) * 256

    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 12 + 768) + header + palette + bytes(4)

    assert decode(data, max_pixels=PLENTY).tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize("scale", [1, 257], ids=["8-bit", "16-bit"])
def test_tiff_alpha_is_composited_straight_or_premultiplied(scale):
    kind = np.uint8 if scale == 1 else np.uint16
    straight = np.array([[[200, 100, 0, 51]]], np.uint16)
    premultiplied = np.array([[[40, 20, 0, 51]]], np.uint16)

    for samples, extra in ((straight, 2), (premultiplied, 1)):
        data = files.tiff((samples * scale).astype(kind), {338: (extra,)})

        image = decode(data, max_pixels=PLENTY)

        assert np.abs(image.astype(int) - [244, 224, 204]).max() <= 1


# Depth


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_png_are_rounded(channels):
    ramp = np.linspace(0, 65_535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    samples = ramp if channels == 1 else np.dstack([ramp] * 3 + [np.full_like(ramp, 65_535)] * (channels - 3))

    image = decode(files.encoded(samples, ".png"), max_pixels=PLENTY)

    assert np.array_equal(image[..., 0], np.rint(ramp / 257))
    assert (image == image[..., :1]).all()
    assert (image.min(), image.max()) == (0, 255)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("samples", [1, 3])
def test_16_bits_of_tiff_are_rounded(samples, order):
    ramp = np.linspace(0, 65_535, 64 * 64).round().astype(np.uint16).reshape(64, 64)

    image = decode(files.tiff(np.dstack([ramp] * samples), order=order), max_pixels=PLENTY)

    assert np.abs(image[..., 0] - np.rint(ramp / 257)).max() <= (1 if samples == 3 else 0)


def test_16_bit_tiff_whose_zero_is_white_is_inverted():
    ramp = np.linspace(0, 65_535, 64 * 64).round().astype(np.uint16).reshape(64, 64)

    image = decode(files.tiff(ramp, {262: (0,)}), max_pixels=PLENTY)

    assert np.abs(image[..., 0] - (255 - ramp / 257)).max() <= 1


def test_16_bit_tiff_in_separate_planes_is_interleaved():
    planes = np.random.default_rng(4).integers(0, 256, (3, 4, 5), dtype=np.uint16) * 257
    tags = {256: (5,), 257: (4,), 258: (16,) * 3, 259: (1,), 262: (2,), 277: (3,), 278: (4,), 284: (2,)}
    strips = {273: (16, 56, 96), 279: (40, 40, 40)}

    image = decode(files.tiff_directory({**tags, **strips}, planes.tobytes()), max_pixels=PLENTY)

    assert np.array_equal(image, (planes // 257).transpose(1, 2, 0))


def test_10_bits_of_avif_reach_full_white():
    ramp = np.repeat(np.linspace(0, 1023, 64).round().astype(np.uint16)[None], 48, axis=0)
    parameters = (cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 100)

    image = decode(files.encoded(np.dstack([ramp] * 3), ".avif", *parameters), max_pixels=PLENTY)

    assert np.abs(image[..., 0] - ramp / 1023 * 255).max() <= 2


@pytest.mark.parametrize(("kind", "sample_format"), [(np.float32, 3), (np.float64, 3), (np.int16, 2), (np.int8, 2)])
def test_tiff_samples_other_than_unsigned_integers_are_rejected(kind, sample_format):
    with pytest.raises(UnreadableImageError, match="unsigned integers"):
        decode(files.tiff(np.ones((4, 4), kind), {339: (sample_format,)}), max_pixels=PLENTY)


# Reduced decoding


@pytest.mark.parametrize(
    ("cover", "shape"),
    [
        (None, (601, 803, 3)),
        ((302, 10), (601, 803, 3)),
        ((301, 301), (301, 402, 3)),
        ((151, 20), (151, 201, 3)),
        ((20, 151), (151, 201, 3)),
        ((76, 76), (76, 101, 3)),
        ((1, 1), (76, 101, 3)),
    ],
)
def test_cover_uses_the_smallest_sufficient_scale(cover, shape):
    data = files.encoded(smooth_image(601, 803), ".jpg")

    image = decode(data, max_pixels=PLENTY, cover=cover)

    assert image.shape == shape
    expected = cv2.resize(smooth_image(601, 803), shape[1::-1], interpolation=cv2.INTER_AREA)
    assert distance(image, expected) < 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_cover_holds_after_rotation(orientation):
    upright = smooth_image(400, 300)
    data = files.encoded_with_orientation(stored_as(upright, orientation), ".jpg", orientation)

    image = decode(data, max_pixels=PLENTY, cover=(150, 140))

    assert image.shape == (200, 150, 3)
    assert distance(image, cv2.resize(upright, (150, 200), interpolation=cv2.INTER_AREA)) < 2


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(*[st.integers(1, 200)] * 2), cover=st.tuples(*[st.integers(1, 100)] * 2))
def test_cover_is_covered_if_the_image_is_large_enough(size, cover):
    data = files.encoded(np.zeros((*size, 3), np.uint8), ".jpg")

    image = decode(data, max_pixels=PLENTY, cover=cover)

    assert image.shape[0] >= min(size[0], cover[0])
    assert image.shape[1] >= min(size[1], cover[1])
    assert decoded_size(read_header(data), cover) == (image.shape[1], image.shape[0])


@pytest.mark.parametrize("extension", [".png", ".webp", ".gif", ".bmp", ".avif", ".tiff"])
def test_cover_does_not_affect_other_formats(extension):
    assert decode(files.encoded(smooth_image(), extension), max_pixels=PLENTY, cover=(2, 2)).shape == (48, 64, 3)


def test_gray_jpeg_is_reduced():
    image = decode(files.encoded(smooth_image()[..., 0], ".jpg"), max_pixels=PLENTY, cover=(6, 6))

    assert image.shape == (6, 8, 3)
