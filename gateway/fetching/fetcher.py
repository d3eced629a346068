"""The interface of everything that fetches images by URL."""

from typing import Protocol, Required, TypedDict, Unpack

from gateway.deadline import Deadline
from gateway.errors import FetchRefusedError
from gateway.fetching.lookups import SharedLookups


class Allowance(Protocol):
    """The bytes that one request may fetch and hold; safe to use from many threads."""

    def take(self, count: int) -> None:
        """Count bytes that have arrived, before they are kept.

        Raises:
            BodyTooLargeError: The images of the request have more bytes than the limit.
            OverloadedError: There is no memory for them at the moment.
        """


class Unlimited:
    """An `Allowance` without a limit."""

    def take(self, count: int) -> None:
        """Accept any number of bytes."""


UNLIMITED = Unlimited()


class FetchOptions(TypedDict, total=False):
    """The keyword arguments of `Fetcher.fetch`.

    Attributes:
        deadline: When the fetch ends at the latest.
        client: Who it is fetched for, for its share of the connections to the host.
        allowance: Counts the bytes while they arrive; unlimited by default.
        lookups: Names that are resolved once for several fetches.
    """

    deadline: Required[Deadline]
    client: str
    allowance: Allowance
    lookups: SharedLookups | None


class Fetcher(Protocol):
    """Fetches images by URL; safe to use from many threads."""

    def fetch(self, url: str, **options: Unpack[FetchOptions]) -> bytes:
        """Return the bytes behind a URL.

        Args:
            url: The URL.
            options: For whom, and within which limits.

        Raises:
            FetchError: No image could be fetched.
            FetchRefusedError: The URL is not allowed.
            ImageFormatError: What was fetched is not an image.
            BodyTooLargeError: The image, or those of the request together, have more bytes than the limit.
            OverloadedError: There is no memory or no connection for it at the moment.
            DeadlineExceededError: The image did not arrive in time.
        """


class DisabledFetcher:
    """A `Fetcher` that refuses every URL, for gateways with fetching switched off."""

    def fetch(self, url: str, **_: object) -> bytes:  # noqa: ARG002  # the parameters of the protocol
        """Refuse every URL.

        Raises:
            FetchRefusedError: Always.
        """
        raise FetchRefusedError("This gateway does not fetch images by URL. Send the image itself.")
