"""The interface of everything that fetches images by URL."""

from typing import Protocol

from gateway.deadline import Deadline
from gateway.errors import FetchRefusedError


class Fetcher(Protocol):
    """Fetches images by URL; safe to use from many threads."""

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        """Return the bytes behind a URL.

        Raises:
            FetchError: No image could be fetched.
            FetchRefusedError: The URL is not allowed.
            BodyTooLargeError: The image has more bytes than the limit.
            DeadlineExceededError: The image did not arrive in time.
        """


class DisabledFetcher:
    """A `Fetcher` that refuses every URL, for gateways with fetching switched off."""

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:  # noqa: ARG002  # the parameters of the protocol
        """Refuse every URL.

        Raises:
            FetchRefusedError: Always.
        """
        raise FetchRefusedError("This gateway does not fetch images by URL. Send the image itself.")
