"""A client of a running gateway, for setting up models."""

import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import requests
import urllib3

API_KEY_VARIABLE = "IMAGE_GATEWAY_API_KEY"
REQUEST_TIMEOUT_S = 15.0
POLL_S = 0.5
TEST_IMAGE_SIZE = 64
UNUSABLE = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY}
"""Status of a response if the model itself is the reason, and not too many requests or a missed deadline."""
BUSY = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
URL_ADVICE = "Use the URL under which `make run` serves the page, such as http://localhost:8080."
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServiceError(Exception):
    """The service cannot use a model, or refuses the request; the message says why."""


class WrongServiceError(ServiceError):
    """What answers at the URL is not a gateway, or the URL is not one; the message says what to use."""


class AccessError(ServiceError):
    """The service requires an API key, or another one."""


class NoServiceError(Exception):
    """Nothing answers at the URL."""


class Service:
    """A running gateway.

    Args:
        url: Its URL.
        api_key: Its API key; None if it requires none.

    Raises:
        WrongServiceError: The URL is not one.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        check_url(url)
        self._url = url.rstrip("/")
        self._session = requests.Session()
        is_local = urlsplit(url).hostname in LOOPBACK
        self._session.trust_env = not is_local  # no proxy on the way to this machine
        if is_local:  # the certificate of `make run` has the public name
            self._session.verify = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def list_models(self) -> Collection[str] | None:
        """Return the names of the models that the service offers; None if it cannot say so now.

        Raises:
            WrongServiceError: What answers is not a gateway.
            AccessError: It requires an API key.
            NoServiceError: Nothing answers.
        """
        response = self._request("GET", "/api/v1/models")
        self._check_access(response)
        if response.status_code in BUSY:
            return None
        try:
            return [model["name"] for model in response.json()["models"]]
        except (ValueError, LookupError, TypeError):
            raise WrongServiceError(
                f"{self._url} answers with status {response.status_code}, but not as an Image Gateway. {URL_ADVICE}"
            ) from None

    def await_model(self, name: str, timeout_s: float) -> int:
        """Wait until a model is available, classify a gray image with it, and return its version.

        Raises:
            ServiceError: It is not available in time, or cannot be used.
            NoServiceError: Nothing answers.
        """
        deadline_s = time.monotonic() + timeout_s
        last_reason = None
        while True:
            document = self.get(f"/api/v1/models/{quote(name, safe='')}")
            if document.get("available"):
                self.classify(name)
                return int(document["version"])
            reason = document.get("reason") or document.get("detail") or "it gives no reason"
            is_final = _is_final(document) and reason == last_reason  # once, it may be a version that has just changed
            if is_final or time.monotonic() > deadline_s:
                # Some reasons name the model themselves.
                raise ServiceError(reason if reason.startswith(f"{name} ") else f"{name} is not served: {reason}")
            last_reason = reason
            time.sleep(POLL_S)

    def classify(self, name: str) -> None:
        """Classify a gray image.

        Raises:
            ServiceError: The model cannot be used.
            NoServiceError: Nothing answers.
        """
        image = np.full((TEST_IMAGE_SIZE, TEST_IMAGE_SIZE, 3), 128, np.uint8)
        _, png = cv2.imencode(".png", image)
        path = f"/api/v1/models/{quote(name, safe='')}/predict"
        response = self._request("POST", path, data=png.tobytes(), headers={"Content-Type": "image/png"})
        if response.status_code in UNUSABLE:
            raise ServiceError(
                f"{name} is loaded, but cannot be used: {_document(response).get('detail', response.text)}"
            )

    def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON document of a route, or of its problem.

        Raises:
            AccessError: It requires an API key.
            NoServiceError: Nothing answers.
        """
        response = self._request("GET", path)
        self._check_access(response)
        return _document(response)

    def _check_access(self, response: requests.Response) -> None:
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise AccessError(f"{self._url} requires an API key. Set {API_KEY_VARIABLE} and run the command again.")

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=REQUEST_TIMEOUT_S, **arguments)
        except requests.exceptions.SSLError as error:
            raise ServiceError(f"{self._url} has no certificate that is trusted here: {error}") from error
        except requests.ConnectionError as error:
            if _has_other_protocol(error):
                raise WrongServiceError(f"{self._url} answers, but not with HTTP. {URL_ADVICE}") from error
            raise NoServiceError("connection failed") from error
        except requests.RequestException as error:
            raise ServiceError(f"{self._url} did not answer: {error}") from error


def check_url(url: str) -> None:
    """Check that a URL is one of HTTP.

    Raises:
        WrongServiceError: It is not.
    """
    if _is_url(url):
        return
    hint = f"Did you mean http://{url}?" if "://" not in url and _is_url(f"http://{url}") else URL_ADVICE
    raise WrongServiceError(f"{url!r} is not the URL of a service. {hint}")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _has_other_protocol(error: BaseException | None) -> bool:
    """Return whether a connection failed because of what arrived; a connection that was merely closed says nothing."""
    while error is not None:
        if isinstance(error, HTTPException) and not isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_final(document: Mapping[str, Any]) -> bool:
    """Return whether the model server has given up the model's versions, or the gateway cannot use the one it has."""
    states = {version["state"] for version in document.get("versions", [])}
    has_failed = any(version.get("reason") for version in document.get("versions", []))
    return "AVAILABLE" in states or (has_failed and states == {"END"})


def _document(response: requests.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"detail": f"it answers with status {response.status_code}"}
