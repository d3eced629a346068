"""Names of files that are not accepted images, by their first bytes, for messages that say what was received."""

import base64
import codecs
import re

START_BYTES = 1024
"""Only so many bytes of a file are looked at."""
MAX_JUNK_BYTES = 64
TEXT_SAMPLE_BYTES = 256

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"gimp xcf", "a GIMP file (XCF)"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\0\0\2\0", "a cursor (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"\x8aMNG", "an animation (MNG)"),
    (b"\x8bJNG", "a JNG image"),
    (b"IIU\0", "a raw camera file (RW2)"),
    (b"IIRO", "a raw camera file (ORF)"),
    (b"IIRS", "a raw camera file (ORF)"),
    (b"MMOR", "a raw camera file (ORF)"),
    (b"FUJIFILMCCD-RAW", "a raw camera file (RAF)"),
    (b"FOVb", "a raw camera file (X3F)"),
    (b"\0MRM", "a raw camera file (MRW)"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"#?RGBE", "a Radiance HDR image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"qoif", "a QOI image"),
    (b"DDS ", "a DDS texture"),
    (b"BPG\xfb", "a BPG image"),
    (b"FLIF", "a FLIF image"),
    (b"farbfeld", "a farbfeld image"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"\x01\0\0\0l\0\0\0", "a Windows metafile (EMF)"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"(\xb5/\xfd", "Zstandard data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (b"FLV\x01", "a Flash video"),
    (b"\0\0\1\xba", "an MPEG video"),
    (b"\0\0\1\xb3", "an MPEG video"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\0\x05\x16\x07", "the AppleDouble file that macOS writes beside the image (its name begins with `._`)"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file"),
)
# Hexadecimal digits are base64 as well.
_HEX_STARTS = tuple(
    base64.b64decode((prefix + digits).ljust(16, "A"))[: len(prefix + digits) * 6 // 8]
    for digits in ("ffd8ff", "89504e47", "47494638", "52494646", "FFD8FF", "89504E47", "ff+d8+ff", "FF+D8+FF")
    for prefix in ("", "0x", "0X")
)
_RIFF_KINDS = {b"AVI ": "an AVI video", b"WAVE": "a WAV file"}
_BRAND_KINDS = {
    b"crx ": "a raw camera file (CR3)",
    b"qt  ": "a QuickTime video",
    b"M4A ": "an M4A file",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"), "HEIC"),
}
_IMAGE_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG"),
    (b"\x89PNG\r\n\x1a\n", "a PNG"),
    (b"GIF89a", "a GIF"),
    (b"GIF87a", "a GIF"),
)
_IMAGES_AS_TEXT: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "a JPEG"),
    (b"\xef\xbf\xbdPNG", "a PNG"),
    (b"\xc3\xbf\xc3\x98\xc3\xbf", "a JPEG"),
    (b"\xc2\x89PNG", "a PNG"),
    (b"\x89PNG\n\x1a\n", "a PNG"),
    (b"\x89PNG\r\r\n", "a PNG"),
    (b"\x89PNG\x1a", "a PNG"),
)
_BINARIES = re.compile(
    rb"(?P<netpbm>P[1-7]\s)"
    rb"|(?P<pcx>\x0a[\x00-\x05][\x00\x01][\x01\x02\x04\x08])"
    rb"|(?P<dicom>(?s:.{128})DICM)"
    rb"|(?P<tar>(?s:.{257})ustar)"
)
_TEXTS = re.compile(
    rb"(?P<html>(?i:<!doctype html|<html[\s>/]|<(?s:.){0,300}?<html[\s>/]))"
    rb"|(?P<svg>(?i:<svg[\s>]|<(?s:.){0,900}?<svg[\s>]))"
    rb"|(?P<fragment>(?i:<(?:head|body|div|p|title|meta)[\s>]))"
    rb"|(?P<xml><(?:[?!]|[A-Za-z][\w:.-]{0,60}[\s/>]))"
    rb"|(?P<data>(?i:data:))"
    rb"|(?P<hex>(?i:(?:0x|\\x)?(?:ffd8ff|89504e47|47494638|52494646)))"
    rb"|(?P<base64>[/_]9j[/_]|iVBORw0KGgo|R0lGOD|UklGR|SUkq|TU0AK|(?!--)(?:[A-Za-z0-9+/_-]\s{0,2}){40})"
    rb"|(?P<python>b['\"])"
    rb"|(?P<form>--[^\r\n]{1,200}\r?\n[Cc]ontent-)"
    rb"|(?P<object>\[object [A-Z][a-z]{1,20}\])"
    rb"|(?P<json>[\[{]\s{0,100}[\[{\"'\]}0-9-])"
)
_KINDS = {
    "netpbm": "a Netpbm image (PPM, PGM, PBM)",
    "pcx": "a PCX image",
    "dicom": "a DICOM file",
    "tar": "a tar archive",
    "html": "an HTML page",
    "svg": "an SVG drawing",
    "fragment": "an HTML page",
    "xml": "an XML document",
    "data": "a data URI",
    "hex": "hexadecimal text",
    "base64": "base64 text",
    "python": "bytes written as text, as Python prints them",
    "form": "a multipart form",
    "object": "an object that JavaScript turned into text",
    "json": "JSON",
}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def name_kind(data: bytes | memoryview) -> str | None:
    """Name what a file is that is not an accepted image.

    Args:
        data: The file, or its beginning.

    Returns:
        A noun phrase such as "a PDF", "an HTML page", "JPEG XL" or "base64 text"; None if it cannot be told.
    """
    start = bytes(data[:START_BYTES])
    return _binary_kind(start) or _damaged_image(start) or _text_kind(start)


def _binary_kind(start: bytes) -> str | None:
    """Name a file by its signature."""
    if start.startswith(_HEX_STARTS):
        return "hexadecimal text that was read as base64"
    if start[:4] == b"RIFF":
        return _RIFF_KINDS.get(start[8:12])
    if start[4:8] == b"ftyp":
        return _BRAND_KINDS.get(start[8:12], "an MP4 video")
    kinds = (kind for signature, kind in _SIGNATURES if start.startswith(signature))
    return next(kinds, None) or _kind_of(_BINARIES.match(start))


def _kind_of(match: re.Match[bytes] | None) -> str | None:
    return _KINDS[match.lastgroup] if match and match.lastgroup else None


def _damaged_image(start: bytes) -> str | None:
    """Name an image that was changed on its way."""
    for signature, name in _IMAGES_AS_TEXT:
        if start.startswith(signature):
            return f"{name} that was damaged because it was read or sent as text"
    for signature, name in _IMAGE_STARTS:
        count = start.find(signature, 1, MAX_JUNK_BYTES + len(signature))
        if count > 0:
            return f"{name} with {count} other {'byte' if count == 1 else 'bytes'} before it"
    if start and not start.strip(b"\0"):
        return "a file that begins with zeros only"
    return None


def _text_kind(start: bytes) -> str | None:
    """Name a text."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return _kind_of(_TEXTS.match(text)) or ("plain text" if text and _is_text(text[:TEXT_SAMPLE_BYTES]) else None)


def _is_text(sample: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters; the last character may be cut off."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return _CONTROLS.search(sample) is None
