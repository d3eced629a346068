"""Authentication by API key. If keys are configured, all endpoints but the open ones require a key."""

import structlog
from flask import Flask, g, request

from gateway.access.keys import Keys, KeysError
from gateway.errors import KeyMissingError, KeyUnknownError
from gateway.http.headers import API_KEY
from gateway.reloaded_file import UnreadableFileError
from gateway.settings import Settings, SettingsError

BEARER = "bearer"

OPEN_ENDPOINTS = frozenset(
    {
        "health.livez",  # orchestrators have no key, and learn only
        "health.readyz",  # whether the gateway is ready
        "health.version",  # the OpenAPI document states it too
        "openapi.document",  # explains how to send a key, and is the same for everyone
        "pages.playground",  # a browser loads pages before its user can enter a key;
        "pages.docs",  # they contain no data, and
        "pages.static_file",  # their requests to the API need a key
    }
)
"""Endpoints that are answered without a key."""


def register(app: Flask, settings: Settings) -> None:
    """Refuse requests without a valid key, if keys are configured.

    Raises:
        SettingsError: the configured keys cannot be read.
    """
    keys = _read_keys(settings)
    if keys is None:
        return

    def authenticate() -> None:
        # A CORS preflight has no key (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
        if request.method == "OPTIONS" or request.endpoint in OPEN_ENDPOINTS:
            return
        g.key_name = _owner(keys)
        structlog.contextvars.bind_contextvars(key=g.key_name)

    app.before_request(authenticate)


def _read_keys(settings: Settings) -> Keys | None:
    if not settings.requires_keys:
        return None
    try:
        return Keys(settings.api_keys, settings.api_keys_file)
    except (KeysError, UnreadableFileError) as error:
        raise SettingsError(str(error)) from error


def _owner(keys: Keys) -> str:
    """Return the name of the key that was sent with the request.

    Raises:
        KeyMissingError: no key was sent.
        KeyUnknownError: the key is not one of the configured keys.
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
