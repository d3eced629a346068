"""Errors of decoding an image file.

ImageError
├── UnsupportedFormatError   not one of the accepted file formats
├── TooManyPixelsError       the file declares more pixels than accepted
├── UnreadableImageError     an accepted format, but empty, truncated, corrupt, or of an unsupported kind
└── OutOfMemoryError         the image may be valid; there was not enough memory to decode it
"""


class ImageError(ValueError):
    """Bytes that cannot be used as an image; the message may be shown to the sender."""


class UnsupportedFormatError(ImageError):
    """The first bytes match none of the accepted file formats, or one that this installation cannot decode.

    Attributes:
        kind: What the file is, if it is known, such as "HEIC, as iPhones take photos"; the message then names it and
            says what to do, in complete sentences.
    """

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class TooManyPixelsError(ImageError):
    """The file declares an image, frame or tile of more pixels than accepted.

    Attributes:
        width: Declared width in pixels.
        height: Declared height in pixels.
        limit: Largest number of pixels that is accepted.
    """

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(f"the image has {width} x {height} = {width * height} pixels; at most {limit} are accepted")
        self.width = width
        self.height = height
        self.limit = limit


class UnreadableImageError(ImageError):
    """The format is accepted, but the file is empty, truncated, corrupt, or of an unsupported kind."""


class OutOfMemoryError(ImageError):
    """There was not enough memory to decode the file, which says nothing about the file.

    A decoder that runs out of memory within a library may report a damaged file instead (`UnreadableImageError`).
    """
