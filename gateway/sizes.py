"""Sizes in messages: what was sent and what is accepted, in decimal units as file managers show them.

nginx/nginx.conf.template writes the same texts by patterns over the digits, so numbers are cut off, not rounded.
"""

KILOBYTE, MEGABYTE = 1000, 1_000_000
MEGAPIXEL = 1_000_000


def format_size(size: int) -> str:
    """Return a number of bytes for a message: `317 bytes`, `12.3 kB`, `11.3 MB`."""
    return _format_bytes(size, decimal_below=100)


def format_limit(limit: int) -> str:
    """Return a limit in bytes for a message, cut off to what is certainly accepted: `10 MB` for 10 MiB."""
    return _format_bytes(limit, decimal_below=10)


def exceeds(subject: str, size: int | None, limit: int) -> str:
    """Return a sentence about something that has too many bytes.

    Args:
        subject: What it is, such as `The body`.
        size: Its size in bytes; None if only that it exceeds the limit is known.
        limit: The most that is accepted, in bytes.
    """
    largest = format_limit(limit)
    sent = f"more than {largest}" if size is None or format_size(size) == largest else format_size(size)
    return f"{subject} is {sent}; at most {largest} is accepted."


def exceeds_pixels(width: int, height: int, limit: int) -> str:
    """Return a sentence about an image that has too many pixels.

    Args:
        width: Its width in pixels.
        height: Its height in pixels.
        limit: The most that is accepted, as width times height.
    """
    sent, largest = _format_pixels(width * height), _format_pixels(limit)
    if sent == largest:
        sent, largest = f"{width * height:,} pixels", f"{limit:,} pixels"
    verb = "is" if largest == "1 megapixel" else "are"
    return f"The image has {width:,} x {height:,} = {sent}; at most {largest} {verb} accepted."


def _format_pixels(pixels: int) -> str:
    if pixels < MEGAPIXEL:
        return f"{pixels:,} pixels"
    count = _cut_off(pixels, MEGAPIXEL, decimal_below=100)
    return f"{count} megapixel{'' if count == '1' else 's'}"


def _format_bytes(size: int, *, decimal_below: int) -> str:
    if size < KILOBYTE:
        return "1 byte" if size == 1 else f"{size} bytes"
    unit, name = (KILOBYTE, "kB") if size < MEGABYTE else (MEGABYTE, "MB")
    return f"{_cut_off(size, unit, decimal_below)} {name}"


def _cut_off(number: int, unit: int, decimal_below: int) -> str:
    """Return a number in a unit, with one decimal below a bound."""
    if number >= decimal_below * unit:
        return str(number // unit)
    return f"{number * 10 // unit / 10:g}"
