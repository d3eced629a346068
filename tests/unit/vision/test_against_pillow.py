"""Files that Pillow writes, decoded here and there: the two have no decoder of their own in common."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from vision.decode import decode

WHITE = (255, 255, 255, 255)


def picture() -> Any:
    """Smooth colours, and an alpha channel that runs from clear to opaque."""
    rows, columns = np.mgrid[0:48, 0:64]
    channels = [columns * 4, rows * 5, 255 - columns * 2 - rows, columns * 4 + 3]
    return Image.fromarray(np.dstack(channels).clip(0, 255).astype(np.uint8))


def written(image: Any, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def as_pillow_sees_it(data: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB"))


def assert_alike(data: bytes, tolerance: float) -> None:
    ours, theirs = decode(data, max_pixels=100_000), as_pillow_sees_it(data)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance


KINDS = [
    *((file_format, mode) for file_format in ("PNG", "GIF", "WEBP") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    *((file_format, mode) for file_format in ("TIFF", "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
]


@pytest.mark.parametrize(("file_format", "mode"), KINDS)
def test_modes(file_format, mode):
    image = picture() if "A" in mode else picture().convert("RGB")
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}

    assert_alike(written(image.convert(mode), file_format, **options), 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True, "quality": 20}])
def test_jpeg(mode, options):
    """CMYK is written as Adobe's inverted kind; OpenCV divides by 256 where Pillow divides by 255."""
    assert_alike(written(picture().convert("RGB").convert(mode), "JPEG", **options), 3)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_tiff_compressions(mode, compression):
    assert_alike(written(picture().convert(mode), "TIFF", compression=compression), 1)


def test_tiff_in_cmyk():
    assert_alike(written(picture().convert("RGB").convert("CMYK"), "TIFF"), 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_and_avif_with_loss(mode):
    image = picture() if mode == "RGBA" else picture().convert("RGB")

    assert_alike(written(image, "WEBP", quality=90), 6)
    if "AVIF" in Image.registered_extensions().values():
        assert_alike(written(image, "AVIF", quality=100, subsampling="4:4:4"), 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientations(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"subsampling": "4:4:4"} if file_format in {"JPEG", "AVIF"} else {}

    assert_alike(written(picture().convert("RGB"), file_format, exif=exif, quality=100, **options), 6)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animations_give_their_first_frame(file_format):
    frames = [picture(), picture().rotate(180), picture().rotate(90)]
    options = {"lossless": True} if file_format == "WEBP" else {}

    assert_alike(written(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, **options), 1)
