"""The exceptions of the client.

ImageGatewayError
├── NoAnswerError            no response from the URL, or not in time
├── UnexpectedAnswerError    the response is not one of this API
└── ProblemError             the gateway responded with a problem
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ABOUT_BLANK = "about:blank"
PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance"})
"""Members of a problem document (RFC 9457 section 3.1), each of them optional."""
AWAY_STATUSES = frozenset({502, 503, 504})
"""Statuses with which a proxy says that the gateway behind it does not respond."""
BUSY_STATUSES = frozenset({429, 503})
"""Statuses after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image or a whole request failed: an RFC 9457 problem document.

    Attributes:
        type: Identifies the kind of problem, such as /problems/unreadable-image; the gateway's
            docs/reference/problems.md lists them. `about:blank` if the status or, without one, the title
            says everything.
        title: A summary, the same for every occurrence.
        detail: What went wrong this time, what was expected and what to do.
        status: HTTP status code; None if the image could not be sent.
        request_id: The request's identifier in the gateway's log; may be empty.
        members: Additional members, such as max_bytes.
    """

    type: str
    title: str
    detail: str = ""
    status: int | None = None
    request_id: str = ""
    members: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Return title and detail on one line; a detail that begins with the title stands alone."""
        if self.detail.lower().startswith(self.title.lower()):
            return self.detail
        return f"{self.title}: {self.detail}" if self.detail else self.title


class ImageGatewayError(Exception):
    """Base class: the request failed, and the message says why.

    Attributes:
        transient: Whether the same request may succeed later.
        retry_after_s: How long to wait before that, in seconds; None if the gateway does not say.
    """

    transient: bool = False
    retry_after_s: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Describe a copy, also for another process, without the arguments of the subclass."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[ImageGatewayError], arguments: tuple[Any, ...], state: Mapping[str, Any]) -> ImageGatewayError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class NoAnswerError(ImageGatewayError):
    """There was no response from the URL, or not in time."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UnexpectedAnswerError(ImageGatewayError):
    """The response is not one of this API."""


class ProblemError(ImageGatewayError):
    """The gateway responded with a problem.

    Attributes:
        problem: The problem document.
        is_document: Whether the response is a problem document, and not the page of a proxy or of another program.
    """

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None, is_document: bool = True) -> None:
        message = f"{problem.status} {problem}" if problem.status else str(problem)
        super().__init__(f"{message} (request {problem.request_id})" if problem.request_id else message)
        self.problem = problem
        self.is_document = is_document
        self.transient = problem.status in BUSY_STATUSES
        self.retry_after_s = retry_after_s


def parse_problem(document: Mapping[str, Any], status: int | None = None) -> Problem:
    """Parse a problem document; every member of it is optional (RFC 9457).

    Args:
        document: A JSON object.
        status: Status of the response, which takes precedence over the one in the document (section 3.1.2).
    """
    members = dict(document)
    document_status = members.pop("status", None)
    return Problem(
        type=_text(members.pop("type", None)) or ABOUT_BLANK,
        title=_text(members.pop("title", None)) or "The gateway gave no reason",
        detail=_text(members.pop("detail", None)),
        status=status if status is not None else document_status if isinstance(document_status, int) else None,
        request_id=_text(members.pop("request_id", None)),
        members=members,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
