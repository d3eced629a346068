"""What errors of HTTP requests mean for the caller; the messages contain no URL with its query."""

import contextlib
import traceback
from collections.abc import Iterator

import requests
import structlog
from urllib3.exceptions import HTTPError, LocationParseError

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, FetchRefusedError, GatewayError, OverloadedError

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def translate_errors(host: str, deadline: Deadline) -> Iterator[None]:
    """Raise the `GatewayError` that an error of a request to a host means."""
    try:
        yield
    except (requests.exceptions.InvalidURL, LocationParseError) as error:
        raise FetchRefusedError("The URL is not valid: its host is not one that can exist. Check it.") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        if deadline.has_passed or isinstance(error, requests.Timeout):
            # Without the cause, which would be logged and may contain the whole URL with its query.
            raise DeadlineExceededError(
                f"The image was not fetched within {deadline.allowed_s:g} s. Try again, or send the image itself."
            ) from None
        if isinstance(error, requests.exceptions.SSLError):
            raise FetchError(
                f"The host {host} has no trusted certificate, or does not support TLS. Send the image itself."
            ) from error
        raise FetchError(
            f"Fetching from {host} failed: the connection was lost, or the response is not HTTP. Try again, or send "
            "the image itself."
        ) from error


@contextlib.contextmanager
def translate_unknown_errors() -> Iterator[None]:
    """Turn every exception into an error of the fetch, so that it never fails the other images of a batch."""
    try:
        yield
    except GatewayError:
        raise
    except MemoryError:
        raise OverloadedError(
            "The gateway has no memory left for this image at the moment. Try again shortly."
        ) from None
    except Exception as error:  # noqa: BLE001  # that is what this is for
        # Without its message, which may contain the URL with its query.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error("fetch_error_unknown", error=type(error).__name__, at=f"{frame.filename}:{frame.lineno}")  # noqa: TRY400
        raise FetchError(
            "Fetching the image failed: its server sent what the gateway does not understand. Send the image itself."
        ) from None
