"""What both clients have in common: their settings, which the environment may name."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Never, Self, TypedDict, Unpack

from image_gateway_client.endpoint import DEFAULT_URL, MEBIBYTE, Endpoint, Limits
from image_gateway_client.images import Image, check_several
from image_gateway_client.options import Options, check_names, check_options

URL_VARIABLE = "IMAGE_GATEWAY_URL"
KEY_VARIABLE = "IMAGE_GATEWAY_API_KEY"
BATCH_BYTES = 7 * MEBIBYTE
"""Below the gateway's default limit of 10 MiB, even as base64, which a batch with URLs uses."""
MAX_IMAGE_BYTES = 1024 * MEBIBYTE
"""An image is read into memory as a whole."""


class ClientSettings(TypedDict, total=False):
    """Arguments of a client beside the URL; see `BaseClient`."""

    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retries: int
    connections: int
    max_image_bytes: int
    max_response_bytes: int


class BaseClient(ABC):
    """Settings of a client of one gateway.

    Args:
        url: Address of the gateway, such as http://localhost:8080.
        api_key: Key that is sent with every request; None for no key.
        timeout_s: Maximum time for a call, including retries and the pauses before them. It is sent to the gateway,
            which stops working on a request when its time is over.
        connect_timeout_s: Maximum time to open a connection.
        retries: Maximum number of retries after 429, 503 or a broken connection. The pause before a retry is the one
            requested by Retry-After; without it, pauses grow. No pause exceeds `timeout_s`.
        connections: Maximum number of requests that `classify_many` sends at once.
        max_image_bytes: Maximum size of an image file.
        max_response_bytes: Maximum size of a response.

    Raises:
        TypeError: There is no such argument; the message names the nearest.
        ValueError: An argument is not valid, or a proxy or certificates that the environment names cannot be used.
    """

    def __init__(  # noqa: PLR0913  # all but the first are keyword-only
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        retries: int = 3,
        connections: int = 4,
        max_image_bytes: int = 64 * MEBIBYTE,
        max_response_bytes: int = 128 * MEBIBYTE,
        **unknown: Never,
    ) -> None:
        check_names(f"{type(self).__name__}()", unknown, {"url", *ClientSettings.__optional_keys__})
        if not 1 <= max_image_bytes <= MAX_IMAGE_BYTES:
            raise ValueError(f"max_image_bytes must be from 1 to {MAX_IMAGE_BYTES}, not {max_image_bytes}")
        limits = Limits(timeout_s, connect_timeout_s, retries, connections, max_response_bytes)
        self._endpoint = Endpoint.create(url, api_key=api_key, limits=limits)
        self._max_image_bytes = max_image_bytes
        self._open()

    @classmethod
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Return a client of the gateway at IMAGE_GATEWAY_URL, with the key in IMAGE_GATEWAY_API_KEY.

        A variable that is not set, or empty, leaves the default.

        Args:
            settings: Arguments of the client; an `api_key` takes precedence over the variable.

        Raises:
            TypeError: A setting is unknown.
            ValueError: A setting or a variable is not valid.
        """
        check_names("from_env()", settings, ClientSettings.__optional_keys__)
        settings.setdefault("api_key", os.environ.get(KEY_VARIABLE) or None)
        return cls(os.environ.get(URL_VARIABLE) or DEFAULT_URL, **settings)

    @abstractmethod
    def _open(self) -> None:
        """Create the transport. Only this imports httpx, which takes a while."""


def check_batches(images: Iterable[Image], batch_size: int, options: Options) -> None:
    """Check the arguments of `classify_many` before its first outcome is asked for.

    Raises:
        TypeError: `images` is a single image, or an option is unknown.
        ValueError: `batch_size` is below 1, or the options contradict each other.
    """
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1")
    check_options("classify_many()", options)
    check_several(images)
