import pytest

from gateway.sizes import exceeds, exceeds_pixels, format_limit, format_size

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "text", "as_limit"),
    [
        (0, "0 bytes", "0 bytes"),
        (1, "1 byte", "1 byte"),
        (999, "999 bytes", "999 bytes"),
        (1000, "1 kB", "1 kB"),
        (1999, "1.9 kB", "1.9 kB"),
        (12_345, "12.3 kB", "12 kB"),
        (123_456, "123 kB", "123 kB"),
        (999_999, "999 kB", "999 kB"),
        (2_000_000, "2 MB", "2 MB"),
        (10 * MIB, "10.4 MB", "10 MB"),
        (11_300_000, "11.3 MB", "11 MB"),
        (1_234_567_890, "1234 MB", "1234 MB"),
    ],
)
def test_a_size_is_cut_off_to_few_digits(size: int, text: str, as_limit: str):
    assert (format_size(size), format_limit(size)) == (text, as_limit)


def test_what_is_too_large_is_told_beside_the_limit():
    assert exceeds("The body", 11_300_000, 10 * MIB) == "The body is 11.3 MB; at most 10 MB is accepted."


@pytest.mark.parametrize("size", [None, 2_000_001])
def test_a_size_that_is_unknown_or_reads_like_the_limit_is_more_than_that(size: int | None):
    assert exceeds("The body", size, 2_000_000) == "The body is more than 2 MB; at most 2 MB is accepted."


def test_an_image_is_measured_in_megapixels():
    assert exceeds_pixels(12_000, 9000, 50_000_000) == (
        "The image has 12,000 x 9,000 = 108 megapixels; at most 50 megapixels are accepted."
    )


def test_a_limit_of_one_megapixel_is_in_the_singular():
    assert exceeds_pixels(2000, 1000, 1_000_000).endswith("= 2 megapixels; at most 1 megapixel is accepted.")


def test_pixels_that_read_like_the_limit_are_written_out():
    assert exceeds_pixels(50_000_001, 1, 50_000_000) == (
        "The image has 50,000,001 x 1 = 50,000,001 pixels; at most 50,000,000 pixels are accepted."
    )
