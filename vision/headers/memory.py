"""Memory that decoding takes at its peak, by what a header declares.

Every factor is an upper bound of what was measured with OpenCV 4.14, Pillow 13 and libheif 1.23 in a fresh process, as
growth of its address space, from 1 x 1 to 50 megapixels. `tests/unit/vision/test_decode_cost.py` measures again.
"""

from vision.headers.header import Size

MARGIN_BYTES = 4 << 20  # tables of the decoders, whatever the size
# `vision.decode` composites transparent images in bands of rows, of so many pixels or of one row.
BAND_PIXELS = 1 << 15
BAND_PIXEL_BYTES = 48
RGB_CHANNELS = 3
# `vision.preprocess` holds the image, and either one copy in colour or three in gray. No decoder takes less.
PREPROCESS_PIXEL_BYTES = 2 * RGB_CHANNELS
# Turning by EXIF's orientation makes at most two copies.
TURN_PIXEL_BYTES = 2 * RGB_CHANNELS
# Pillow's image, and what converting it to RGB takes.
PILLOW_PIXEL_BYTES = 4
CONVERTED_PIXEL_BYTES = 17
# If samples have 8 bits, and if they have more: what libavif holds for each pixel, with all copies, and what dav1d
# holds for each pixel of a frame with its border. Then its tables.
VIDEO_PIXEL_BYTES = {False: 10, True: 14}
FRAME_PIXEL_BYTES = {False: 3, True: 8}
FRAME_BORDER = 160
VIDEO_DECODER_BYTES = 4 << 20
# What libde265 and libheif hold for each pixel, if colours are subsampled and if not, and for alpha.
HEVC_BORDER = 64
HEVC_PIXEL_BYTES = {True: 6, False: 12}
DEEP_HEVC_PIXEL_BYTES = {True: 10, False: 17}
HEVC_ALPHA_PIXEL_BYTES = 3
THREAD_BYTES = 9 << 20  # of address space: the stack of libde265's thread


def as_samples(
    size: Size, *, channels: int, sample_bytes: int = 1, turned: bool = False, decoder_bytes: int = 0
) -> int:
    """Return the peak of decoding to the samples in the file, and of converting them to RGB.

    Args:
        size: Width and height of the result.
        channels: Samples of a decoded pixel, 1 to 4.
        sample_bytes: Bytes of a decoded sample, 1 or 2.
        turned: Whether the image may have to be turned.
        decoder_bytes: What the decoder holds until it has finished, beside the result.
    """
    pixels = size[0] * size[1]
    samples = pixels * channels * sample_bytes
    converted = pixels * (RGB_CHANNELS + TURN_PIXEL_BYTES * turned)
    converted += pixels * channels * (sample_bytes - 1)  # as 8 bits
    band = min(pixels, max(BAND_PIXELS, size[0])) * BAND_PIXEL_BYTES
    decoding = samples + max(samples, decoder_bytes)  # OpenCV copies the result into an array
    return MARGIN_BYTES + max(decoding, samples + converted + band, pixels * PREPROCESS_PIXEL_BYTES)


def by_pillow(size: Size, *, file_bytes: int, decoder_bytes: int = 0) -> int:
    """Return the peak of decoding with Pillow and of converting the result to RGB.

    Args:
        size: Width and height of the result.
        file_bytes: Size of the file, of which Pillow makes copies.
        decoder_bytes: What the decoder holds until it has finished, beside the result.
    """
    pixels = size[0] * size[1]
    decoding = max(pixels * CONVERTED_PIXEL_BYTES, pixels * PILLOW_PIXEL_BYTES + decoder_bytes)
    return MARGIN_BYTES + decoding + 2 * file_bytes


def by_libavif(size: Size, *, file_bytes: int, is_deep: bool) -> int:
    """Return the peak of decoding an AVIF of 8 bits, or of more, with Pillow; see `by_pillow`."""
    frame_pixels = (size[0] + 2 * FRAME_BORDER) * (size[1] + 2 * FRAME_BORDER)
    decoding = size[0] * size[1] * VIDEO_PIXEL_BYTES[is_deep] + frame_pixels * FRAME_PIXEL_BYTES[is_deep]
    return MARGIN_BYTES + VIDEO_DECODER_BYTES + decoding + 2 * file_bytes


def by_libheif(size: Size, *, file_bytes: int, is_deep: bool, is_subsampled: bool, has_alpha: bool) -> int:
    """Return the peak of decoding a HEIC; see `by_pillow`.

    Args:
        size: Width and height of the result.
        file_bytes: Size of the file.
        is_deep: Whether samples have more than 8 bits.
        is_subsampled: Whether colours have a quarter of the samples.
        has_alpha: Whether there is transparency.
    """
    frame_pixels = (size[0] + 2 * HEVC_BORDER) * (size[1] + 2 * HEVC_BORDER)
    pixel_bytes = (DEEP_HEVC_PIXEL_BYTES if is_deep else HEVC_PIXEL_BYTES)[is_subsampled]
    decoding = frame_pixels * (pixel_bytes + HEVC_ALPHA_PIXEL_BYTES * has_alpha)
    return MARGIN_BYTES + VIDEO_DECODER_BYTES + THREAD_BYTES + decoding + 2 * file_bytes
