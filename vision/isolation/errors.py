"""Errors of decoding in a process, beyond those of `vision.errors`."""

from vision.errors import ImageError


class DecodingTimeoutError(ImageError):
    """The file was not decoded in time, and its process was killed."""

    def __init__(self) -> None:
        super().__init__("decoding the image takes too long")


class DecoderCrashedError(ImageError):
    """The file ended the process that decoded it."""

    def __init__(self) -> None:
        super().__init__("the decoder crashed; the image is corrupt, or of an unsupported kind")


class DecoderUnavailableError(Exception):
    """No process was free in time or could be started, or the kernel ended it for lack of memory.

    The file may be a good one.
    """
