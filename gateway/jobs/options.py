"""Options of a job, in the query, the form or the JSON object."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

from gateway.errors import BadRequestError, FetchRefusedError
from gateway.http.request_parser import parse_integer, parse_options, quote_value, read_option_values
from gateway.jobs.records import JobRequest

OPTION_NAMES = ("model", "version", "label", "top_k", "threshold", "webhook_url", "webhook_secret")
MAX_VERSION = 2**63 - 1
"""The greatest number of a version in the model server; no greater one is served either."""
MAX_NAME_LENGTH = 256
IDEMPOTENCY_KEYS = re.compile(r"[!-~]{1,255}")
SECRET = re.compile(r"whsec_([A-Za-z0-9+/]{32,88}={0,2})")
NO_WEBHOOK = (
    "webhook_url is not allowed. Webhooks are sent to http and https URLs of public hosts on the usual ports, without "
    "a user name and password. Operators can allow a host with GATEWAY_FETCH_ALLOWED_HOSTS."
)
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""By the specification of Standard Webhooks."""


class WebhookPost(Protocol):
    """What checks where webhooks may go; see `UrlFetcher`."""

    def check(self, url: str) -> None:
        """Check a URL before anything is sent.

        Raises:
            FetchRefusedError: It is not allowed.
        """


class OptionsParser:
    """Parses the options of jobs.

    Args:
        default_top_k: Number of classes that are returned if the request does not say.
        webhooks: Checks where webhooks may go; None if there are none.
    """

    def __init__(self, *, default_top_k: int, webhooks: WebhookPost | None) -> None:
        self._default_top_k = default_top_k
        self._webhooks = webhooks

    def parse(self, query: Mapping[str, Any], fields: Mapping[str, Any], *, prefix: str, request_id: str) -> JobRequest:
        """Parse the options; one of the query takes precedence, and an empty one or null counts as absent.

        Args:
            query: The query.
            fields: The fields of the body.
            prefix: What precedes a name of `fields` in the member `field` of a problem.
            request_id: Id of the request.

        Raises:
            BadRequestError: A value is not accepted.
        """
        values = read_option_values(OPTION_NAMES, query, fields, prefix)
        options = parse_options(query, fields, default_top_k=self._default_top_k, prefix=prefix)
        version, label = _version(values), _text(values, "label")
        if version is not None and label is not None:
            raise BadRequestError("There are a version and a label; expected one of them.", field=values["label"][1])
        url, secret = self._webhook(values)
        model = _text(values, "model")
        return JobRequest(model, version, label, options.top_k, options.threshold, url, secret, request_id)

    def _webhook(self, values: Mapping[str, tuple[Any, str]]) -> tuple[str | None, str | None]:
        """Return the URL and the secret of the webhook; neither is in any message."""
        if not values.keys() & {"webhook_url", "webhook_secret"}:
            return None, None
        if not values.keys() >= {"webhook_url", "webhook_secret"}:
            raise BadRequestError("A webhook needs webhook_url and webhook_secret, which signs it. Send both.")
        (url, url_field), (secret, secret_field) = values["webhook_url"], values["webhook_secret"]
        if self._webhooks is None:
            raise BadRequestError("This gateway sends no webhooks. Poll the job instead.", field=url_field)
        if not isinstance(secret, str) or not _is_secret(secret):
            raise BadRequestError(
                "webhook_secret must be whsec_ and 24 to 64 random bytes in base64 (Standard Webhooks).",
                field=secret_field,
            )
        if not _is_text(url):
            raise BadRequestError(f"webhook_url must be a string, not {quote_value(url)}.", field=url_field)
        try:
            self._webhooks.check(url)
        except FetchRefusedError as error:
            raise BadRequestError(NO_WEBHOOK, field=url_field) from error
        return url, secret


def decode_secret(secret: str) -> bytes:
    """Return the bytes of a webhook's secret.

    Raises:
        ValueError: It is not valid.
    """
    match = SECRET.fullmatch(secret)
    if match is None:
        raise ValueError("not a secret")
    return base64.b64decode(match[1], validate=True)


def _is_secret(secret: str) -> bool:
    try:
        return MIN_SECRET_BYTES <= len(decode_secret(secret)) <= MAX_SECRET_BYTES
    except (ValueError, binascii.Error):
        return False


def _version(values: Mapping[str, tuple[Any, str]]) -> int | None:
    if "version" not in values:
        return None
    return min(parse_integer("version", *values["version"], lowest=0), MAX_VERSION)


def _text(values: Mapping[str, tuple[Any, str]], name: str) -> str | None:
    if name not in values:
        return None
    value, field = values[name]
    if not _is_text(value) or len(value) > MAX_NAME_LENGTH:
        raise BadRequestError(
            f"{name} must be a string of at most {MAX_NAME_LENGTH} characters, not {quote_value(value)}.", field=field
        )
    return value


def _is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is a string without halves of characters, which JSON can contain."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
