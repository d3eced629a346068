"""Authentication by API key: if keys are configured, every endpoint outside `OPEN_ENDPOINTS` requires one."""

import hashlib
import mmap
from collections.abc import Callable

import structlog
from flask import Flask, g, request

from gateway.access.keys import Keys, KeysError
from gateway.errors import KeyMissingError, KeyUnknownError
from gateway.http.headers import API_KEY
from gateway.settings import Settings, SettingsError

BEARER = "bearer"

OPEN_ENDPOINTS = frozenset(
    {
        # Orchestrators send no key, and the responses only say whether the gateway is ready.
        "health.livez",
        "health.readyz",
        "open_inference_status.server",
        "open_inference_status.live",
        "open_inference_status.ready",
        # The OpenAPI document explains how to send a key, is the same for everyone, and contains the version.
        "openapi.document",
        "health.version",
        # A browser loads the pages before its user can enter a key. Their own requests to the API need it.
        "pages.playground",
        "pages.models",
        "pages.comparison",
        "pages.docs",
        "pages.static_file",
        # The type URI of a problem explains it, that of a missing key included.
        "pages.problem_list",
        "pages.problem",
    }
)
"""Endpoints that are answered without a key."""


_accepted_path_digest = mmap.mmap(-1, hashlib.sha256().digest_size)
"""Digest of the path of a key file with which this gateway has started, in memory that all its workers share."""


def register(app: Flask, settings: Settings, *, count_refusal: Callable[[], None] | None = None) -> None:
    """Refuse requests without a valid key, if keys are configured.

    Args:
        app: The application.
        settings: Its settings.
        count_refusal: Called for each request without a valid key; may raise another error instead. A request that
            cannot be checked is the operator's fault, and not counted.

    Raises:
        SettingsError: The configured keys cannot be read.
    """
    keys = _read_keys(settings)
    if keys is None:
        return

    def authenticate() -> None:
        # A CORS preflight has no key (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
        if request.method == "OPTIONS" or request.endpoint in OPEN_ENDPOINTS:
            return
        try:
            g.key_name = _owner(keys)
        except (KeyMissingError, KeyUnknownError):
            if count_refusal is not None:
                count_refusal()
            raise
        structlog.contextvars.bind_contextvars(key=g.key_name)

    app.before_request(authenticate)


def _read_keys(settings: Settings) -> Keys | None:
    """Read the keys; a file that this gateway has started with before may be damaged when a worker is replaced."""
    if not settings.requires_keys:
        return None
    path_digest = hashlib.sha256(str(settings.api_keys_file).encode()).digest()
    try:
        keys = Keys(settings.api_keys, settings.api_keys_file, required=_accepted_path_digest[:] != path_digest)
    except KeysError as error:
        raise SettingsError(str(error)) from error
    _accepted_path_digest[:] = path_digest
    return keys


def _owner(keys: Keys) -> str:
    """Return the name of the key that was sent with the request.

    Raises:
        KeyMissingError: No key was sent.
        KeyUnknownError: The key is not one of the configured keys.
        KeysUnavailableError: The file of the keys cannot be read completely.
    """
    key = _request_key()
    if not key:
        raise KeyMissingError(f"Send a key as `Authorization: Bearer KEY` or as `{API_KEY}: KEY`.")
    name = keys.owner(key)
    if name is None:
        raise KeyUnknownError("The key is not valid here, or no longer valid. Check that it was copied completely.")
    return name


def _request_key() -> str:
    """Return the key in the header Authorization (RFC 6750 section 2.1) or X-API-Key, or an empty string."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == BEARER:
        return credentials.strip()
    return request.headers.get(API_KEY, "").strip()
