"""The running service behaves as its OpenAPI document says, and the document's examples are its responses."""

from http import HTTPStatus

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis.checks import not_a_server_error, positive_data_acceptance, unsupported_method

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
DOCUMENT = default_document()
VALIDATOR = ResponseValidator(DOCUMENT)

schemathesis.openapi.format("uri", st.sampled_from(URLS))
service = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.timeout(600)
@service.parametrize()
@settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_request_gets_a_response_that_is_described(case, stack):
    response = case.call(base_url=stack.url, timeout=TIMEOUT_S)
    # A schema cannot say whether a text is an image, so many requests that fit the schema are refused.
    excluded = [positive_data_acceptance]
    if case.path == "/metrics" or response.status_code == HTTPStatus.BAD_REQUEST:
        excluded.append(unsupported_method)  # nginx does not serve /metrics; malformed requests are refused before
    if response.status_code in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        # A request may cause these by its X-Request-Timeout, and a busy machine may be slow.
        excluded.append(not_a_server_error)
    case.validate_response(response, excluded_checks=excluded)
    headers = CaseInsensitiveDict({name: ", ".join(values) for name, values in response.headers.items()})
    answer = response.json() if "json" in headers["Content-Type"] and response.content else None
    VALIDATOR.check(case.method, case.formatted_path, response.status_code, headers, answer)


def test_every_worker_serves_the_same_document(stack):
    for _ in range(8):
        assert requests.get(f"{stack.url}/api/v1/openapi.json", timeout=10).json() == DOCUMENT


def test_the_examples_are_responses_of_the_service(stack):
    assert examples.differences(load(), examples.record(stack.url)) == [], "python -m tools.examples"
