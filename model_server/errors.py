"""Errors of requests and models, with the canonical codes that TensorFlow uses.

    ServingError
    ├── InvalidArgumentError
    ├── DeadlineExceededError
    ├── NotFoundError
    ├── ResourceExhaustedError
    ├── FailedPreconditionError
    ├── UnimplementedError
    ├── UnavailableError
    └── DataLossError

TensorFlow's errors with any other code become a plain ServingError with that code. The packages `rest` and `grpc` map
codes to their protocol's status.
"""

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """Canonical codes, numbered as in tensorflow/core/protobuf/error_codes.proto."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """A failure with a canonical code and a message for the client."""

    default_code: ClassVar[Code] = Code.UNKNOWN

    def __init__(self, message: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code

    def __str__(self) -> str:
        """Return code and message, as TensorFlow prints a status."""
        return f"{self.code.name}: {self.message}"


class InvalidArgumentError(ServingError):
    """The request is invalid, regardless of the state of the server."""

    default_code = Code.INVALID_ARGUMENT


class DeadlineExceededError(ServingError):
    """The request's deadline has passed."""

    default_code = Code.DEADLINE_EXCEEDED


class NotFoundError(ServingError):
    """A model, a version or a file does not exist."""

    default_code = Code.NOT_FOUND


class ResourceExhaustedError(ServingError):
    """The server is overloaded."""

    default_code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServingError):
    """The model or the server is not in the state that the request needs."""

    default_code = Code.FAILED_PRECONDITION


class UnimplementedError(ServingError):
    """The operation is not supported."""

    default_code = Code.UNIMPLEMENTED


class UnavailableError(ServingError):
    """The server cannot do this at the moment."""

    default_code = Code.UNAVAILABLE


class DataLossError(ServingError):
    """A file is corrupted."""

    default_code = Code.DATA_LOSS
