"""URL-encoded forms (https://url.spec.whatwg.org/#urlencoded-parsing)."""

from urllib.parse import unquote_plus

from werkzeug.datastructures import MultiDict

from gateway.http.bodies import Form, Name, check_count
from gateway.http.long_text import LONG_TEXT_BYTES, LongText, decode_percent


def parse_url_encoded(body: bytes, *, max_fields: int | None = None) -> Form:
    """Parse a form into its fields; a body that is not UTF-8 text has none.

    Values of more than `LONG_TEXT_BYTES` are returned as `LongText`.

    Raises:
        BadRequestError: It has too many fields.
    """
    check_count(body.count(b"&") + 1, max_fields)
    view = memoryview(body)
    fields: list[tuple[Name, str | LongText]] = []
    start = 0
    try:
        while start < len(body):
            end = _find(body, b"&", start, len(body))
            if end > start:
                equals = _find(body, b"=", start, end)
                fields.append((_text(view[start:equals]), _text(view[equals + 1 : end])))
            start = end + 1
    except UnicodeDecodeError:
        return MultiDict()
    return MultiDict(fields)


def _find(body: bytes, separator: bytes, start: int, end: int) -> int:
    """Return where the next separator is, or the end if there is none."""
    position = body.find(separator, start, end)
    return end if position < 0 else position


def _text(raw: memoryview) -> str | LongText:
    if len(raw) > LONG_TEXT_BYTES:
        return LongText(raw, decode_percent)
    return unquote_plus(str(raw, "utf-8"), errors="replace")
