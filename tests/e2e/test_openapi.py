"""The running service behaves as its OpenAPI document says, and the document's examples are its responses."""

from http import HTTPStatus
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis.checks import negative_data_rejection, not_a_server_error, positive_data_acceptance

from gateway.openapi.examples import load
from tests.support.openapi import ResponseValidator, default_document
from tools import examples

# Refused because of their address or form: no name is resolved and no host is contacted.
URLS = [
    "http://127.0.0.1/a.png",
    "https://[::1]:8443/",
    "http://192.168.0.1/a%20b?c=d#e",
    "ftp://10.0.0.1/a",
    "http://",
]
TIMEOUT_S = 60
REFUSED_IMAGES = {HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY}
DOCUMENT = default_document()
VALIDATOR = ResponseValidator(DOCUMENT)

schemathesis.openapi.format("uri", st.sampled_from(URLS))
service = schemathesis.openapi.from_dict(DOCUMENT)


def has_one_kind_of_image(body: object) -> bool:
    """Return whether a body has one of the fields for images, or is none.

    The schemas do not say this, since several generators of clients do not compile what would.
    """
    return not isinstance(body, dict) or sum(bool(body.get(name)) for name in ("image", "url", "instances")) == 1


def is_excused(problem: dict[str, Any] | None) -> bool:
    """Return whether a schema cannot say what is wrong: a text that is not base64, or a number with an exponent."""
    field = (problem or {}).get("field", "")
    return field in {"image", "X-Request-Timeout"} or field.endswith(("/image", "/url"))


@pytest.mark.timeout(600)
@service.parametrize()
@settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_request_gets_a_response_that_is_described(case, stack):
    response = case.call(base_url=stack.url, timeout=TIMEOUT_S)
    excluded = []
    answer = response.json() if "json" in response.headers["content-type"][0] and response.content else None
    if response.status_code in REFUSED_IMAGES or not has_one_kind_of_image(case.body) or is_excused(answer):
        excluded.append(positive_data_acceptance)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        excluded.append(negative_data_rejection)  # it refuses too many images, which the check does not know
    if response.status_code in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        # A request may cause these by its X-Request-Timeout, and a busy machine may be slow.
        excluded.append(not_a_server_error)
    case.validate_response(response, excluded_checks=excluded)
    headers = CaseInsensitiveDict({name: ", ".join(values) for name, values in response.headers.items()})
    VALIDATOR.check(case.method, case.formatted_path, response.status_code, headers, answer)


def test_every_worker_serves_the_same_document(stack):
    for _ in range(8):
        assert requests.get(f"{stack.url}/api/v1/openapi.json", timeout=10).json() == DOCUMENT


def test_the_examples_are_responses_of_the_service(stack):
    assert examples.differences(load(), examples.record(stack.url)) == [], "python -m tools.examples"
