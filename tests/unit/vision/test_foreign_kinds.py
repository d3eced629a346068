import base64

import pytest

from vision.foreign_kinds import name_kind

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(100)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

KINDS = {
    "a PDF": [b"%PDF-1.7\n%\xe2\xe3"],
    "an HTML page": [
        b"<!DOCTYPE html>\n<html>",
        b"  \r\n<html lang=en>",
        b"\xef\xbb\xbf<!-- login -->\n<HTML><svg>",
        b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0'>\n<html xmlns='x'>",
        b"<head><title>Log in</title>",
    ],
    "an SVG drawing": [b"<svg xmlns='x'>", b"<?xml version='1.0'?><!-- made by hand --><!DOCTYPE svg><svg>"],
    "an XML document": [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", b"<note>"],
    "JPEG XL": [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0"],
    "an icon (ICO)": [b"\0\0\1\0\1\0\x10\x10"],
    "a Photoshop file (PSD)": [b"8BPS\0\1"],
    "HEIC": [b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"],
    "an MP4 video": [b"\0\0\0\x20ftypisom\0\0\2\0isomiso2"],
    "a QuickTime video": [b"\0\0\0\x14ftypqt  \0\0\0\0"],
    "a WebM or Matroska video": [b"\x1aE\xdf\xa3\x9f"],
    "an AVI video": [b"RIFF\0\0\0\1AVI LIST"],
    "a raw camera file (CR3)": [b"\0\0\0\x18ftypcrx \0\0\0\1"],
    "a raw camera file (RAF)": [b"FUJIFILMCCD-RAW 0201"],
    "a Netpbm image (PPM, PGM, PBM)": [b"P6\n2 2\n255\n", b"P5 2 2 255 "],
    "a Radiance HDR image": [b"#?RADIANCE\n"],
    "an OpenEXR image": [b"v/1\x01\2\0"],
    "a PCX image": [b"\x0a\5\1\x08\0\0"],
    "a DICOM file": [bytes(128) + b"DICM"],
    "gzip data": [b"\x1f\x8b\x08\0"],
    "Zstandard data": [b"(\xb5/\xfd\0"],
    "a ZIP archive": [b"PK\3\4\x14\0"],
    "a tar archive": [b"cat.jpg".ljust(257, b"\0") + b"ustar\0"],
    "a NumPy array": [b"\x93NUMPY\1\0"],
    "base64 text": [base64.b64encode(JPEG), base64.urlsafe_b64encode(PNG), b"\n" + base64.encodebytes(bytes(90))],
    "hexadecimal text": [JPEG.hex().encode(), b"0x" + PNG.hex().encode(), b"\\xFFD8FFE0"],
    "hexadecimal text that was read as base64": [
        base64.b64decode(JPEG.hex().encode() + b"=="),
        base64.b64decode(PNG.hex().encode()),
    ],
    "a data URI": [b"data:image/png;base64,iVBOR", b" DATA:,x"],
    "bytes written as text, as Python prints them": [repr(JPEG).encode(), b'b"iVBOR"'],
    "an object that JavaScript turned into text": [b"[object Object]", b"[object Blob]"],
    "JSON": [b'{"url": "x"}', b'[{"a": 1}]', b"[[0, 255]]", b"{}"],
    "a multipart form": [b'------X\r\nContent-Disposition: form-data; name="image"\r\n'],
    "plain text": [b"not an image", "grüne Wörter ".encode() * 99, b"x"],
    "a Git LFS pointer instead of the file": [b"version https://git-lfs.github.com/spec/v1\noid"],
    "a file that begins with zeros only": [bytes(50), bytes(5000)],
    "a JPEG with 1 other byte before it": [b"\n" + JPEG],
    "a JPEG with 3 other bytes before it": [b"\xef\xbb\xbf" + JPEG],
    "a PNG with 2 other bytes before it": [b"\r\n" + PNG],
    "a JPEG that was damaged because it was read or sent as text": [
        JPEG.decode(errors="replace").encode(),
        JPEG.decode("latin-1").encode(),
    ],
    "a PNG that was damaged because it was read or sent as text": [
        PNG.decode(errors="replace").encode(),
        PNG.decode("latin-1").encode(),
        PNG.replace(b"\r\n", b"\n"),
        PNG.translate(None, b"\0\r\n"),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_named_by_its_first_bytes(kind: str):
    for start in KINDS[kind]:
        assert name_kind(start) == kind, start
        assert name_kind(memoryview(start)) == kind, start


def test_unknown_bytes_have_no_name():
    for content in (b"", bytes(range(256)), b"\x80\x81", b"\xfcbel", b"RIFF\0\0\0\0XXXX"):
        assert name_kind(content) is None, content
