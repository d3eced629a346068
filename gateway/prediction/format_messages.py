"""Messages about files that are not images in an accepted format: what was received, and what to do."""

from collections.abc import Sequence

from vision.foreign_kinds import name_kind

URL_OF_IMAGE = "Send the image itself, or a URL that opens the image alone, without a login."
DECODE_FIRST = "Decode it first, or send it as `image` in a JSON object, or in a form field without a file name."
ADVICE = {
    "base64 text": DECODE_FIRST,
    "a data URI": DECODE_FIRST,
    "hexadecimal text": "Send the bytes themselves, or base64.",
    "hexadecimal text that was read as base64": "Send base64 instead of hexadecimal digits.",
    "bytes written as text, as Python prints them": "Send the bytes themselves, or base64.",
    "an HTML page": URL_OF_IMAGE,
    "an XML document": URL_OF_IMAGE,
    "a ZIP archive": "Send an image from it.",
    "a tar archive": "Send an image from it.",
    "an MP4 video": "Send one picture of it.",
    "a QuickTime video": "Send one picture of it.",
    "a file that begins with zeros only": "It may be damaged, or not completely written: check that it opens.",
    "an object that JavaScript turned into text": "Send the bytes of a File or Blob.",
    "JSON": "Send it with Content-Type: application/json.",
    "a multipart form": "Send it with the Content-Type that your HTTP library sets for it.",
    "gzip data": "Send it uncompressed.",
    "plain text": "Send the content of an image file.",
    "a Git LFS pointer instead of the file": "Run `git lfs pull` and send the file itself.",
}


def describe_format(content: bytes, accepted: Sequence[str]) -> str:
    """Say what a file is, which formats are accepted, and what to do.

    Args:
        content: The file.
        accepted: Names of the accepted formats.
    """
    formats = f"Accepted formats: {', '.join(accepted)}."
    kind = name_kind(content)
    if kind is None:
        return f"The bytes are not an image in an accepted format. {formats}"
    if "before it" in kind:
        return f"This is {kind}. Remove them. {formats}"
    if "damaged" in kind:
        return f"This is {kind}. Read and send it as bytes. {formats}"
    return f"This is {kind}. {formats} {ADVICE.get(kind, 'Convert it, for example to JPEG.')}"
