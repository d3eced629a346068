"""Who may ask: where keys are set, nothing is answered without one but what is listed here."""

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
        "health.livez",  # orchestrators have no key, and are told nothing but
        "health.readyz",  # whether the default model answers
        "openapi.document",  # says how to send a key; the same for everybody
        "pages.playground",  # a browser opens pages before its user could give a key;
        "pages.docs",  # they hold no data, and
        "pages.static_file",  # what they ask of the API needs one
    }
)
"""What is answered without a key."""


def register(app: Flask, settings: Settings) -> None:
    """Let in only requests with a key, if keys are set.

    Raises:
        SettingsError: the keys cannot be read.
    """
    keys = _read_keys(settings)
    if keys is None:
        return

    def admit() -> None:
        # A browser asks whether it may send a key before it does (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
        if request.method == "OPTIONS" or request.endpoint in OPEN_ENDPOINTS:
            return
        g.key_name = _owner(keys)
        structlog.contextvars.bind_contextvars(key=g.key_name)

    app.before_request(admit)


def _read_keys(settings: Settings) -> Keys | None:
    if not settings.requires_keys:
        return None
    try:
        return Keys(settings.api_keys, settings.api_keys_file)
    except (KeysError, UnreadableFileError) as error:
        raise SettingsError(str(error)) from error


def _owner(keys: Keys) -> str:
    """Name the owner of the key that came with the request.

    Raises:
        KeyMissingError: none came.
        KeyUnknownError: it is none of the keys.
    """
    key = _key_sent()
    if not key:
        raise KeyMissingError(f"Send a key as `Authorization: Bearer KEY` or as `{API_KEY}: KEY`.")
    name = keys.owner(key)
    if name is None:
        raise KeyUnknownError("The key is not known here, or not any more. Check that it was copied in whole.")
    return name


def _key_sent() -> str:
    """Give the key of the Authorization header (RFC 6750 section 2.1) or of our own; empty where there is none."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == BEARER:
        return credentials.strip()
    return request.headers.get(API_KEY, "").strip()
