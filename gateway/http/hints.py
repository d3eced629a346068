"""Messages about requests that carry no usable image: what arrived, what is accepted, and what to do.

Nothing here runs for an image that is sent as a file.
"""

import codecs
import contextlib
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from mmap import mmap

from vision.foreign_kinds import START_BYTES, name_kind

ACCEPTED = (
    "multipart/form-data with a part `image`, application/json with `url`, `image` (base64) or `instances` (several), "
    "or the bytes themselves as image/* or application/octet-stream"
)
EMPTY_BODY = f"The request carries no image: its body is empty. Send {ACCEPTED}."
FORM = "application/x-www-form-urlencoded"
URL = re.compile(rb"\s{0,100}https?(?::|%3A)", re.IGNORECASE)
CURL_HINT = "With curl, send a file by `-F image=@FILE`."
MAX_QUOTED = 100
"""Maximum number of characters of the request that a message repeats."""
MAX_WORD = 40
"""The same for one name or value."""
MAX_NAMES = 5
BEGINNING_CHARACTERS = 1000
"""So many characters of a text are looked at."""
UNDECODABLE = "\N{REPLACEMENT CHARACTER}"  # replaces bytes of a form that are not UTF-8

MISTAKES = re.compile(
    r"(?P<url>(?i:https?://))"
    r"|(?P<schemeless>(?i:www\.|//)[^\s/]{1,200}\.[^\s/]{2,60}/)"
    r"|(?P<python>b['\"])"
    r"|(?P<object>\[object )"
    r"|(?P<nothing>(?i:undefined|null|none|nan|true|false)\Z)"
    r"|(?P<pixels>[\[(]\s*+[\[(0-9])"
    r"|(?P<json>[\[{])"
    r"|(?P<markup><(?:!|\?xml|/?(?i:html|head|body|svg|img|div|p|title|meta|error)\b))"
    r"|(?P<described><(?:Buffer\b|memory at|class |[\w.]{1,60} (?:object|name=|image|mode=|\[)|[\w.]{1,60}\.))"
    r"|(?P<quotes>[\"'])"
    r"|(?P<binary>\xff\xd8\xff|\ufffd|\x89?PNG[\r\n]|GIF8[79]a|RIFF.{4}WEBP|BM.{0,40}\0|\xef\xbf\xbd)"
    r"|(?P<hexadecimal>(?i:(?:0x|\\x)?(?:ff|89|47|52|42)[ :,-]{0,2}(?:\\?x)?(?:d8|50|49|4d)(?:[ :,-]|[0-9a-f]{2}){2}))"
    r"|(?P<empty>(?i:data:[^,]{0,200},?\Z))"
    r"|(?P<data>(?i:data:))"
    r"|(?P<headless>(?i:(?:image/[a-z+.-]{1,20})?;?base64,))"
    r"|(?P<place>(?i:(?:s3|gs|ftp)://|(?:file|blob|content|ph|assets-library):))"
    r"|(?P<path>(?:@|[^\n]{1,300}\.(?i:jpe?g|png|webp|gif|bmp|avif|tiff?|hei[cf])\Z))"
    r"|(?P<backslash>[^\\\n]{0,900}\\[nr])"
    r"|(?P<percent>[^%\n]{0,900}%(?i:2B|2F|3D|0A|0D|20))"
)
MISTAKE_HINTS = {
    "url": "It is a URL: send it as `url`.",
    "python": "It begins with b', as Python prints bytes: send base64.b64encode(data).decode().",
    "object": "It is an object that JavaScript turned into text: append the File or Blob itself to a FormData.",
    "nothing": "The client has sent a variable that was not set.",
    "pixels": "It is a list of numbers: send the file of the image (JPEG, PNG, …) in base64, not its pixels.",
    "json": "It is JSON: send only the base64 text.",
    "quotes": "It has quotation marks around it: send only the base64 text.",
    "markup": "It is an HTML page or XML.",
    "empty": "The data URI is empty, as that of a canvas without a size is.",
    "data": "The data URI must be base64, and say so directly before its comma: data:image/jpeg;base64,/9j/4AAQ….",
    "headless": "Put `data:image/jpeg;base64,` in front of the base64, or nothing.",
    "schemeless": "It looks like a URL: send it as `url`, with https:// in front.",
    "described": "It is how a program describes an object: send the content of the object in base64.",
    "binary": "It is a file that was read as text: send its bytes in base64.",
    "hexadecimal": "It is hexadecimal text: send base64.",
    "place": "The gateway cannot open that address: send the file itself, or an http or https URL as `url`.",
    "path": f"It is the name of a file: send its content. {CURL_HINT}",
    "backslash": "It contains a backslash with n or r instead of a line break: remove them.",
    "percent": "It is percent-encoded: decode it first.",
}
UNSET = frozenset({"null", "None", "true", "True"})
FILE_HINT = "The bytes of a file need a part with a `filename`."
BLANKS_HINT = (
    "It has blanks between its digits, which may have been `+` before: write `+` as %2B where the text passes through "
    "a URL or a form."
)
DATA_PREFIX = re.compile(r"data:[^,]{0,1000};[ ]?base64[ ]?,", re.IGNORECASE)
TWO_PREFIXES_HINT = "It has the prefix of a data URI twice: send it once."
CUT_HINT = "It begins like base64, but was cut off or has other characters later: send all of it."
NOT_A_DIGIT = re.compile(r"(?P<shortened>\.\.\.|…)|(?P<padding>=\s{0,4}[A-Za-z0-9+/_-])|[^A-Za-z0-9+/_= \t\n\r\v\f-]")
# What is left of the beginning of an image without zero bytes and line breaks.
STRIPPED_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF|(?:II|MM)[*+]|[ -~]?ftyp(?:avif|heic|mif1)", re.DOTALL
)
MIN_STRIPPED_BYTES = 50


def check_is_set(text: object) -> None:
    """Refuse what programs write for a variable that is not set, although it is base64 of three bytes.

    Raises:
        ValueError: It is that.
    """
    if text in UNSET:
        raise ValueError("a variable that was not set")


def explain_base64(text: str, *, has_inner_blanks: bool, in_form: bool) -> str:
    """Say what the beginning of a text, which is not base64, looks like and what to send instead."""
    beginning = text[:BEGINNING_CHARACTERS].strip(string.whitespace)
    if in_form and UNDECODABLE in beginning:
        return FILE_HINT
    prefix = DATA_PREFIX.match(beginning)
    if prefix:
        beginning = beginning[prefix.end() :].lstrip()
    mistake = MISTAKES.match(beginning)
    if prefix and mistake and mistake.lastgroup == "data":
        return TWO_PREFIXES_HINT
    if mistake and mistake.lastgroup:
        return MISTAKE_HINTS[mistake.lastgroup]
    return BLANKS_HINT if has_inner_blanks else _explain_digits(beginning)


def _explain_digits(text: str) -> str:
    """Say where a text ceases to be base64."""
    end = NOT_A_DIGIT.search(text)
    if not end:
        return CUT_HINT
    if end["shortened"]:
        return "It was shortened, as programs do to show long texts: send all of it."
    if end["padding"]:
        return "Something follows the `=` at its end: send the base64 of one image."
    return f"It has the character {quote(end[0])}; expected A-Z, a-z, 0-9, +, / and = only."


def decode_beginning(pieces: Iterable[bytes]) -> str:
    """Return the first characters of a text in UTF-8; bytes that are none become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    with contextlib.suppress(ValueError):  # an invalid escape sequence
        for piece in pieces:
            text += decoder.decode(piece[: 4 * BEGINNING_CHARACTERS])
            if len(text) >= BEGINNING_CHARACTERS:
                break
    return text[:BEGINNING_CHARACTERS]


def describe_absence(body: bytes, media_type: str, fields: Mapping[object, object]) -> str:
    """Say what arrived in place of an image, and what is accepted."""
    if not body:
        return EMPTY_BODY
    arrived = f"{_bytes(len(body))} of {media_type[:MAX_QUOTED] or 'no Content-Type'} arrived"
    names = [_name(name, value) for name, value in list(fields.items())[:MAX_NAMES]]
    with_names = f" with {', '.join(names)}" if names else ""
    kind = None if names else name_kind(body)
    contents = f" The body is {kind}." if kind else ""
    if media_type == "multipart/form-data" and not names:
        contents = " The form has no parts with a content."
    return f"The request carries no image: {arrived}{with_names}.{contents} Send {ACCEPTED}. {CURL_HINT}"


def describe_other(body: bytes, *, is_form: bool) -> str:
    """Say what a body is in place of a URL-encoded form, or of JSON; nothing if that cannot be told."""
    kind = name_kind(body)
    if kind in {None, "plain text"} or (kind == "JSON" and not is_form):
        return ""
    if is_form and kind in NAMED_FIELD_KINDS:
        return (
            f"The request carries no image: {_bytes(len(body))} of {FORM} arrived, with {kind} but without the name of "
            "a field. With curl, send it by `--data-urlencode image=…`, or the file itself by `-F image=@FILE`."
        )
    expected = "a URL-encoded form" if is_form else "JSON"
    return f"The body is {kind}, not {expected}. {TYPES.get(kind or '', f'Send {ACCEPTED}')}."


def describe_unknown_fields(body: bytes, names: Sequence[object], accepted: Iterable[str]) -> str:
    """Say that a URL-encoded form has none of the accepted fields, and what it may be instead."""
    quoted = [_name(name, "value") for name in names[:MAX_NAMES]]
    return (
        f"There is no field {quoted[0]}. Accepted: {', '.join(accepted)}. {_bytes(len(body))} of {FORM} arrived with "
        f"{', '.join(quoted)}; did you mean `-F`? {CURL_HINT}"
    )


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, with its control and other invisible characters as code points."""
    shown = text if len(text) <= MAX_WORD else f"{text[:MAX_WORD]}…"
    mark = '"' if "'" in shown else "'"
    return mark + "".join(char if char.isprintable() else f"U+{ord(char):04X}" for char in shown) + mark


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _name(name: object, value: object) -> str:
    quoted = quote(name) if isinstance(name, str) else repr(name)
    return quoted if value else f"{quoted} (empty)"


NAMED_FIELD_KINDS = frozenset({"base64 text", "a data URI"})
TYPES = {
    "JSON": "Send it as application/json",
    "a multipart form": "Send it as multipart/form-data, with the boundary that your HTTP library sets",
    "an object that JavaScript turned into text": "Send JSON.stringify(object) as application/json",
    "base64 text": 'Send it as {"image": "…"} in application/json',
    "a data URI": 'Send it as {"image": "…"} in application/json',
}


def describe_media_type(body: bytes, media_type: str) -> str:
    """Say that a media type is not accepted, what the body is, and what to send."""
    subject = (
        f"The media type {media_type[:MAX_QUOTED]!r} is not accepted" if media_type else "The body has no Content-Type"
    )
    kind = name_kind(body)
    contents = f" The body is {kind}." if kind else ""
    return f"{subject}.{contents} {TYPES.get(kind or '', f'Send {ACCEPTED}')}."


def is_stripped_image(body: bytes) -> bool:
    """Return whether a body is an image that has lost its zero bytes and line breaks; every accepted file has some."""
    is_long = len(body) >= MIN_STRIPPED_BYTES
    return is_long and b"\0" not in body and STRIPPED_IMAGE.match(body) is not None


NAMELESS_URL = "The body is a URL without the name of a field. With curl, send it by `--data-urlencode url=…`."
FIRST_BOUNDARY = re.compile(rb"\s{0,10}--([^\r\n]{1,200}?)[ \t]{0,10}[\r\n]{1,2}[Cc]ontent-")


def explain_form(body: bytes | mmap, delimiter: bytes) -> str:
    """Say why a form cannot be split into parts by its delimiter, which is the boundary behind two hyphens."""
    boundary = _quote(delimiter[2:])
    first = FIRST_BOUNDARY.match(body)
    if first and first[1] != delimiter[2:]:
        return (
            f"The boundary in the Content-Type is {boundary}, but the form uses {_quote(first[1])}. Let your HTTP "
            "library set the Content-Type."
        )
    end = body[-len(delimiter) - 8 :].rstrip()
    if end.endswith(delimiter + b"--"):
        return f"The line break before the last boundary, --{boundary}--, is missing. Write CR LF in front of it."
    if body.find(delimiter) >= 0:
        return (
            f"The form ends before its last boundary, --{boundary}--: {_bytes(len(body))} arrived. It was cut off, or "
            "its last line is missing. Send all of it."
        )
    if not body:
        return EMPTY_BODY
    kind = name_kind(body[:START_BYTES])
    contents = f": it is {kind}" if kind else ""
    return (
        f"The body is not a multipart form with the boundary {boundary}{contents}. Let your HTTP library write the "
        f"form and set the Content-Type. {CURL_HINT}"
    )


def explain_missing_boundary(body: bytes) -> str:
    """Say that the Content-Type of a form has no boundary, and what to do."""
    if not body:
        return EMPTY_BODY
    arrived = "" if FIRST_BOUNDARY.match(body) else " The body does not look like a form either."
    return (
        "The Content-Type has no boundary. Let your HTTP library set it: do not set Content-Type yourself for a form."
        f"{arrived}"
    )


def _quote(boundary: bytes) -> str:
    return boundary[:MAX_QUOTED].decode(errors="replace")


STRIPPED = (
    "The body begins like an image, but has lost its zero bytes and line breaks, as by `curl -d @FILE`. Use "
    "`--data-binary @FILE`, or `-F image=@FILE`."
)
