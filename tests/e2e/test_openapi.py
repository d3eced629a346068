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
from gateway.openapi.requests import WEBHOOK
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


def is_complete(body: object) -> bool:
    """Return whether a body is none, or has images in one way, one version at most, and all of a webhook or nothing.

    The schemas do not say this, since several generators of clients do not compile what would.
    """
    if not isinstance(body, dict):
        return True
    names = body.keys()
    images = names & {"image", "archive", "url", "urls", "instances"}
    has_files = body.get("image") != []
    return has_files and len(images) == 1 and len(names & WEBHOOK.keys()) != 1 and not names >= {"version", "label"}


def is_excused(problem: dict[str, Any] | None) -> bool:
    """Return whether a schema cannot say what is wrong: a text that is not base64, or a number with an exponent."""
    field = (problem or {}).get("field", "")
    return field.rpartition("/")[2] in {"image", "url", "X-Request-Timeout", *WEBHOOK}


def is_accepted_in_part(case: schemathesis.Case, answer: dict[str, Any] | None) -> bool:
    """Return whether a response says image by image what is wrong, or a wrong option is also in the query.

    Of an option that is in query and body, only the one in the query is read.
    """
    is_overridden = isinstance(case.body, dict) and not case.body.keys().isdisjoint(case.query or {})
    return is_overridden or bool((answer or {}).get("failed"))


@pytest.mark.timeout(600)
@service.parametrize()
@settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_request_gets_a_response_that_is_described(case, stack):
    response = case.call(base_url=stack.url, timeout=TIMEOUT_S)
    excluded = []
    answer = response.json() if "json" in response.headers["content-type"][0] and response.content else None
    if response.status_code in REFUSED_IMAGES or not is_complete(case.body) or is_excused(answer):
        excluded.append(positive_data_acceptance)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or is_accepted_in_part(case, answer):
        excluded.append(negative_data_rejection)  # which does not know 413, for too many images
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
