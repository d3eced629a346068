"""Memory that decoding takes at its peak, by what a header declares.

Every factor is an upper bound of what was measured with OpenCV 4.14 in a fresh process, as growth of its address space
at sizes from 1 x 1 to 50 megapixels. `tests/unit/vision/test_decode_cost.py` measures again.
"""

from vision.headers.header import Size

MARGIN_BYTES = 4 << 20  # tables of the decoders, whatever the size
# `vision.decode` composites transparent images in bands of rows, of so many pixels or of one row.
BAND_PIXELS = 1 << 15
BAND_PIXEL_BYTES = 48
RGB_CHANNELS = 3
# `vision.preprocess` holds the image, a copy in another colour order, its inverse, and its grays.
PREPROCESS_PIXEL_BYTES = 3 * RGB_CHANNELS + 1
# Turning by EXIF's orientation makes at most two copies.
TURN_PIXEL_BYTES = 2 * RGB_CHANNELS


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
