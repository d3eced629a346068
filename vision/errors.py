"""Why bytes did not become a picture.

ImageError
├── UnsupportedFormatError   not one of the accepted file formats
├── TooManyPixelsError       the file declares more pixels than allowed
└── UnreadableImageError     an accepted format, but empty, truncated, corrupt, or of a kind not decoded here
"""


class ImageError(ValueError):
    """Bytes that cannot be used as a picture; the message is fit for the one who sent them."""


class UnsupportedFormatError(ImageError):
    """Not one of the accepted file formats, judged by the first bytes."""


class TooManyPixelsError(ImageError):
    """The file declares a picture, frame or tile of more pixels than allowed.

    Attributes:
        width: Declared width in pixels.
        height: Declared height in pixels.
        limit: Most pixels that are allowed.
    """

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(f"the image has {width} x {height} = {width * height} pixels; at most {limit} are accepted")
        self.width = width
        self.height = height
        self.limit = limit


class UnreadableImageError(ImageError):
    """Of an accepted format, but empty, truncated, corrupt, or of a kind that is not decoded here."""
