"""Describe what a client does as a plan of steps, which a synchronous or an asynchronous transport then performs.

A plan is a generator. It yields a step, receives its result, and returns what the caller wants. Everything except input
and output is therefore written once for both clients.
"""

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class FileContent:
    """A part of a body that is read from a file while it is sent.

    Attributes:
        file: The file, which is read from its beginning.
        size: Its size in bytes.
    """

    file: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Attributes:
        content_type: Its media type.
        parts: Its bytes, in order.
    """

    content_type: str
    parts: Sequence[bytes | FileContent]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(part.size if isinstance(part, FileContent) else len(part) for part in self.parts)

    @property
    def reads_file(self) -> bool:
        """Whether a part of it is read from a file while it is sent."""
        return any(isinstance(part, FileContent) for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in chunks of at most `CHUNK_BYTES`."""
        buffer = bytearray()
        for piece in self._pieces():
            buffer += piece
            while len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer[:CHUNK_BYTES])
                del buffer[:CHUNK_BYTES]
        if buffer:
            yield bytes(buffer)

    def _pieces(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, FileContent):
                part.file.seek(0)
                while piece := part.file.read(CHUNK_BYTES):
                    yield piece
            else:
                yield part


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to the gateway.

    Attributes:
        method: GET, POST or DELETE.
        path: Path below the gateway's URL, with a leading slash.
        query: Parameters of the query.
        headers: Further headers.
        body: The body; None for no body.
        retries: Maximum number of retries; None for that of the client.
        timeout_s: Maximum time including retries; None for that of the client.
        limits_gateway: Whether the gateway is told how much time is left. Without it, the gateway's own limit holds.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    retries: int | None = None
    timeout_s: float | None = None
    limits_gateway: bool = True


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response.

    Attributes:
        status: The status code.
        reason: The reason phrase; may be empty.
        headers: The headers, by their names in lower case.
        body: The body, not compressed.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request once; the result is an `ApiResponse`. A `NoAnswerError` is raised without one in `timeout_s`."""

    request: ApiRequest
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a function that may take a while, such as one that reads a file; the result is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for what an asynchronous function of the caller does."""

    awaitable: Awaitable[object]


Step: TypeAlias = Send | Pause | Work | Await
Plan: TypeAlias = Generator[Step, Any, T]
