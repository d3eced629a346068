"""Read protobuf messages from files in text format."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from model_server.errors import InvalidArgumentError, NotFoundError

MessageT = TypeVar("MessageT", bound=Message)


def read_message(file: Path, message: MessageT) -> MessageT:
    """Fill `message` from a file in protobuf text format, and return it.

    Raises:
        NotFoundError: The file cannot be read.
        InvalidArgumentError: The file is not UTF-8 or does not match the message type.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"{file}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"Invalid protobuf file: '{file}': {error}") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InvalidArgumentError(f"Invalid protobuf file: '{file}': {error}") from error
