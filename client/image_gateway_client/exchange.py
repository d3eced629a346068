"""Plans of a single call: a request with its retries, and the parsing of its response."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import ImageGatewayError, NoAnswerError, ProblemError
from image_gateway_client.responses import check_response, read_json
from image_gateway_client.retries import backoff_s
from image_gateway_client.steps import ApiRequest, ApiResponse, Pause, Plan, Send

T = TypeVar("T")

MIN_TIMEOUT_S = 0.001


def call(endpoint: Endpoint, request: ApiRequest, parse: Callable[[Any], T]) -> Plan[T]:
    """Send a request, retry it if that may help, and parse the JSON of the response.

    Raises:
        NoAnswerError: There is no response, or not in time.
        UnexpectedAnswerError: The response is not JSON, not what `parse` expects, or a redirect.
        ProblemError: The gateway responds with a problem.
    """
    response = yield from exchange(endpoint, request)
    return parse(read_json(response, endpoint))


def exchange(endpoint: Endpoint, request: ApiRequest) -> Plan[ApiResponse]:
    """Send a request, retry it if that may help, and return the response.

    Raises:
        NoAnswerError: There is no response, or not in time.
        UnexpectedAnswerError: The response is a redirect, or too large.
        ProblemError: The gateway responds with a problem.
    """
    timeout_s = endpoint.limits.timeout_s if request.timeout_s is None else request.timeout_s
    retries = endpoint.limits.retries if request.retries is None else request.retries
    deadline_s = time.monotonic() + timeout_s
    attempt = 0
    while True:
        try:
            remaining_s = max(deadline_s - time.monotonic(), MIN_TIMEOUT_S)
            response: ApiResponse = yield Send(request, remaining_s)
            check_response(response, endpoint)
        except (NoAnswerError, ProblemError) as error:
            pause_s = find_pause_s(error, attempt, retries, deadline_s - time.monotonic())
            if pause_s is None:
                raise
        else:
            return response
        yield Pause(pause_s)
        attempt += 1


def find_pause_s(error: ImageGatewayError, attempt: int, retries: int, remaining_s: float) -> float | None:
    """Return the pause before a request is sent again, in seconds; None if it is not.

    Args:
        error: Why the attempt failed.
        attempt: Number of the attempt, from 0.
        retries: Maximum number of retries.
        remaining_s: Time left for the call.
    """
    if not error.transient or attempt >= retries:
        return None
    pause_s = backoff_s(attempt) if error.retry_after_s is None else error.retry_after_s
    return pause_s if pause_s < remaining_s else None
