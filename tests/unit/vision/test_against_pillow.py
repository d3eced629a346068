"""Files written by Pillow are decoded as Pillow decodes them; the two share no decoder of their own."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from vision.decode import decode

WHITE = (255, 255, 255, 255)


def smooth_image() -> Any:
    """Return smooth colours with an alpha channel from transparent to opaque."""
    rows, columns = np.mgrid[0:48, 0:64]
    channels = [columns * 4, rows * 5, 255 - columns * 2 - rows, columns * 4 + 3]
    return Image.fromarray(np.dstack(channels).clip(0, 255).astype(np.uint8))


def encode(image: Any, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def decode_with_pillow(data: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB"))


def assert_similar(data: bytes, tolerance: float, case: str = "") -> None:
    ours, theirs = decode(data, max_pixels=100_000), decode_with_pillow(data)
    assert ours.shape == theirs.shape, case
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance, case


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "WEBP": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
}


@pytest.mark.parametrize(("file_format", "modes"), MODES.items(), ids=MODES)
def test_every_mode_is_decoded_as_by_pillow(file_format, modes):
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}

    for mode in modes:
        image = smooth_image() if "A" in mode else smooth_image().convert("RGB")

        assert_similar(encode(image.convert(mode), file_format, **options), 1, f"mode {mode}")


JPEG_OPTIONS = ({}, {"progressive": True}, {"subsampling": 0}, {"optimize": True, "quality": 20})


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_decoded_as_by_pillow(mode):
    """CMYK is written as Adobe's inverted kind; OpenCV divides by 256 where Pillow divides by 255."""
    image = smooth_image().convert("RGB").convert(mode)

    for options in JPEG_OPTIONS:
        assert_similar(encode(image, "JPEG", **options), 3, f"options {options}")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_tiff_compression_is_decoded_as_by_pillow(mode):
    image = smooth_image().convert(mode)

    for compression in (None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"):
        assert_similar(encode(image, "TIFF", compression=compression), 1, f"compression {compression}")


def test_tiff_in_cmyk_is_decoded_as_by_pillow():
    assert_similar(encode(smooth_image().convert("RGB").convert("CMYK"), "TIFF"), 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossy_webp_and_avif_are_decoded_as_by_pillow(mode):
    image = smooth_image() if mode == "RGBA" else smooth_image().convert("RGB")

    assert_similar(encode(image, "WEBP", quality=90), 6)
    if "AVIF" in Image.registered_extensions().values():
        assert_similar(encode(image, "AVIF", quality=100, subsampling="4:4:4"), 6)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_applied_as_by_pillow(file_format):
    options = {"subsampling": "4:4:4"} if file_format in {"JPEG", "AVIF"} else {}

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(smooth_image().convert("RGB"), file_format, exif=exif, quality=100, **options)

        assert_similar(data, 6, f"orientation {orientation}")


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animations_are_decoded_to_their_first_frame(file_format):
    frames = [smooth_image(), smooth_image().rotate(180), smooth_image().rotate(90)]
    options = {"lossless": True} if file_format == "WEBP" else {}

    assert_similar(encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, **options), 1)
