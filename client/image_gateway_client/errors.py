"""Why there is no answer.

ImageGatewayError
├── NoAnswerError            nobody answers at the URL, or not in time
├── UnexpectedAnswerError    what answers there does not speak this API
└── ProblemError             the gateway answers with a problem
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ABOUT_BLANK = "about:blank"
BUSY = frozenset({429, 503})
"""Statuses that ask for the same request again, later."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image, or a whole request, got no answer: an RFC 9457 problem document.

    Attributes:
        type: What a program tells it by, such as /problems/unreadable-image; the gateway's docs/problems.md lists them.
            `about:blank` where the status, or without one the title, says it all.
        title: What it is, the same in every occurrence.
        detail: What went wrong this time, what was expected and what to do.
        status: HTTP status code; None for what kept an image from being sent.
        request_id: What the operator finds it by in the log; may be empty.
        members: Further facts, such as max_bytes.
    """

    type: str
    title: str
    detail: str = ""
    status: int | None = None
    request_id: str = ""
    members: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Give title and detail as one line."""
        return f"{self.title}: {self.detail}" if self.detail else self.title


class ImageGatewayError(Exception):
    """There is no answer; the message says why.

    Attributes:
        transient: Whether the same request may succeed later.
        retry_after_s: How long the gateway asks to wait before that; None where it does not say.
    """

    transient: bool = False
    retry_after_s: float | None = None


class NoAnswerError(ImageGatewayError):
    """Nobody answers at the URL, or not in time."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UnexpectedAnswerError(ImageGatewayError):
    """What answers at the URL does not speak this API."""


class ProblemError(ImageGatewayError):
    """The gateway answers with a problem.

    Attributes:
        problem: What it says.
    """

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        numbered = f"{problem.status} {problem}" if problem.status else str(problem)
        super().__init__(f"{numbered} (request {problem.request_id})" if problem.request_id else numbered)
        self.problem = problem
        self.transient = problem.status in BUSY
        self.retry_after_s = retry_after_s


def parse_problem(document: Mapping[str, Any], status: int | None = None) -> Problem:
    """Read a problem document; RFC 9457 makes every member of it optional.

    Args:
        document: A JSON object.
        status: The response's own status, which counts before the one in the document (section 3.1.2).
    """
    members = dict(document)
    told = members.pop("status", None)
    return Problem(
        type=_text(members.pop("type", None)) or ABOUT_BLANK,
        title=_text(members.pop("title", None)) or "The gateway gave no reason",
        detail=_text(members.pop("detail", None)),
        status=status if status is not None else told if isinstance(told, int) else None,
        request_id=_text(members.pop("request_id", None)),
        members=members,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
