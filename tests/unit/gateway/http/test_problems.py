import errno
import io
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug import exceptions
from werkzeug.test import TestResponse

from gateway import errors
from gateway.http.problems import CONTENT_TYPE, HTTP_PROBLEMS, INTERNAL, PROBLEMS
from gateway.settings import Settings

PREDICT = "/api/v1/predict"


def subclasses(kind: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


EVERY_ERROR = list(subclasses(errors.GatewayError))


def assert_problem(response: TestResponse, status: int, type_uri: str) -> dict[str, Any]:
    """Check that a response is a complete problem document, and return it."""
    document = response.get_json(force=True)
    assert response.status_code == status
    assert response.content_type == CONTENT_TYPE
    assert list(document)[:4] == ["type", "title", "status", "detail"]
    assert (document["type"], document["status"]) == (type_uri, status)
    assert all(isinstance(document[field], str) and document[field] for field in ("title", "detail", "request_id"))
    assert document["request_id"] == response.headers["X-Request-ID"]
    assert ("Retry-After" in response.headers) == (status in {429, 503})
    return document


@pytest.fixture
def respond(app: Flask) -> Callable[[Exception], TestResponse]:
    """Return a function that returns the response to a request whose view raises an error."""
    raised: list[Exception] = []

    def view() -> str:
        raise raised[-1]

    app.add_url_rule("/raise", view_func=view)

    def respond(error: Exception) -> TestResponse:
        raised.append(error)
        return app.test_client().get("/raise")

    return respond


# The table


def test_every_error_class_has_a_problem():
    assert len(EVERY_ERROR) > 20
    assert set(PROBLEMS) == set(EVERY_ERROR)


def test_slugs_and_titles_are_unique():
    problems = {*PROBLEMS.values(), INTERNAL, *HTTP_PROBLEMS.values()}
    assert len({problem.slug for problem in problems}) == len(problems)
    assert len({problem.title for problem in problems}) == len(problems)


def test_every_problem_has_a_title_and_advice():
    for problem in [*PROBLEMS.values(), *HTTP_PROBLEMS.values(), INTERNAL]:
        assert 400 <= HTTPStatus(problem.status) < 600, problem
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.slug), problem
        assert problem.title[0].isupper(), problem
        assert not problem.title.endswith("."), problem
        assert problem.advice.endswith("."), problem


def test_advice_names_only_existing_settings():
    variables = re.findall(r"GATEWAY_[A-Z_]+", str(list(PROBLEMS.values())))
    assert variables
    assert [name for name in variables if name.removeprefix("GATEWAY_").lower() not in Settings.model_fields] == []


# Errors of the gateway


def test_every_error_is_answered_with_its_problem(respond: Callable[[Exception], TestResponse]):
    for error_class in EVERY_ERROR:
        problem = PROBLEMS[error_class]

        response = respond(error_class("It went wrong. Do this.", limit=5))

        document = assert_problem(response, problem.status, f"/problems/{problem.slug}")
        assert document["title"] == problem.title, error_class
        assert document["detail"] == "It went wrong. Do this.", error_class
        assert document["limit"] == 5, error_class


def test_retry_after_is_a_number_of_seconds(respond: Callable[[Exception], TestResponse]):
    response = respond(errors.ModelUnavailableError("away"))
    assert int(response.headers["Retry-After"]) >= 1


def test_the_cause_of_a_failure_is_logged_and_not_shown_to_the_caller(respond: Callable[[Exception], TestResponse]):
    failure = errors.ModelFailedError("no answer")
    failure.__cause__ = RuntimeError("/secret/path is broken")

    with capture_logs() as logs:
        response = respond(failure)

    assert "/secret/path" not in response.text
    (line,) = [line for line in logs if line["event"] == "request_failed"]
    assert line["cause"] == "/secret/path is broken"
    assert line["problem"] == "model-failed"


# Errors of Flask


def test_a_request_that_no_view_answers_gets_a_problem(client: FlaskClient):
    for method, path, status, slug in (
        ("GET", "/nothing/here", 404, "not-found"),
        ("POST", "/api/v1/models/", 405, "method-not-allowed"),
        ("GET", PREDICT, 405, "method-not-allowed"),
        ("DELETE", "/api/v1/models", 405, "method-not-allowed"),
        ("POST", "/livez", 405, "method-not-allowed"),
        ("POST", PREDICT, 400, "bad-request"),
    ):
        assert_problem(client.open(path, method=method), status, f"/problems/{slug}")


def test_a_405_lists_the_allowed_methods(client: FlaskClient):
    response = client.get(PREDICT)
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert set(client.put("/api/v1/models").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_body_larger_than_the_limit_is_refused_with_the_limit(client: FlaskClient):
    for media_type in ("image/png", "application/json", "multipart/form-data; boundary=x", "text/plain"):
        response = client.post(PREDICT, data=bytes(2_000_001), content_type=media_type)
        document = assert_problem(response, 413, "/problems/body-too-large")
        assert document["max_bytes"] == 2_000_000
        assert document["detail"].startswith("The body is more than 2 MB; at most 2 MB is accepted.")


def test_a_form_with_too_many_parts_is_refused(client: FlaskClient):
    form = {f"field_{number}": "x" for number in range(100)}
    response = client.post(PREDICT, data=form, content_type="multipart/form-data")
    document = assert_problem(response, 400, "/problems/bad-request")
    assert "more than 96 parts" in document["detail"]


def test_an_unsupported_media_type_is_named(client: FlaskClient):
    response = client.post(PREDICT, data=b"hello", content_type="text/plain")
    document = assert_problem(response, 415, "/problems/unsupported-media-type")
    assert "text/plain" in document["detail"]


def test_every_http_error_is_answered_with_a_problem(respond: Callable[[Exception], TestResponse]):
    classes = {status: error for status, error in exceptions.default_exceptions.items() if status != 413}
    assert len(classes) > 20
    for status, error_class in classes.items():
        problem = HTTP_PROBLEMS.get(HTTPStatus(status))

        response = respond(error_class(retry_after=7) if status in {429, 503} else error_class())

        document = assert_problem(response, status, problem.type_uri if problem else "about:blank")
        assert document["title"] == (problem.title if problem else HTTPStatus(status).phrase)


def test_headers_of_http_errors_are_kept(respond: Callable[[Exception], TestResponse]):
    response = respond(exceptions.RequestedRangeNotSatisfiable(length=10))
    assert response.headers["Content-Range"] == "bytes */10"
    assert response.content_type == CONTENT_TYPE


# Bugs


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_process_without_resources_is_overloaded(respond: Callable[[Exception], TestResponse], error: Exception):
    assert_problem(respond(error), 503, "/problems/overloaded")

    wrapped = ValueError("of a library")
    wrapped.__cause__ = error
    assert_problem(respond(wrapped), 503, "/problems/overloaded")


def test_a_bug_reveals_only_the_request_id(respond: Callable[[Exception], TestResponse]):
    with capture_logs() as logs:
        response = respond(ZeroDivisionError("secret"))

    document = assert_problem(response, 500, "/problems/internal-error")
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["event"] == "unexpected_error"
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert document["request_id"]


# The request id


def test_a_well_formed_request_id_is_used(client: FlaskClient):
    for request_id in ("abc", "A-1.b_2", "x" * 128, "0"):
        response = client.get("/nothing", headers={"X-Request-ID": request_id})
        assert response.headers["X-Request-ID"] == request_id
        assert response.get_json(force=True)["request_id"] == request_id


def test_a_missing_or_malformed_request_id_is_replaced(client: FlaskClient):
    for request_id in (None, "", "a b", "x" * 129, "a\tb", 'a"b', "{}", "<script>", "ünïcode", "a,b"):
        headers = {} if request_id is None else {"X-Request-ID": request_id.encode().decode("latin-1")}
        response = client.get("/nothing", headers=headers)
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"]), request_id


def test_requests_have_different_ids(client: FlaskClient):
    assert len({client.get("/livez").headers["X-Request-ID"] for _ in range(10)}) == 10


def test_the_request_id_is_in_the_response_and_sent_to_the_model_server(client: FlaskClient, server: Any, png: bytes):
    response = client.post(PREDICT, data={"image": (io.BytesIO(png), "a.png")}, headers={"X-Request-ID": "trace-7"})
    assert response.status_code == 200
    assert response.headers["X-Request-ID"] == response.json["request_id"] == "trace-7"
    assert server.request_ids[-1] == "trace-7"


def test_a_body_that_ends_early_is_shorter_than_its_length(client: FlaskClient):
    environ = {"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": "5000"}

    response = client.post("/api/v1/predict", content_type="image/png", environ_overrides=environ)

    assert (response.status_code, response.get_json(force=True)["type"]) == (400, "/problems/bad-request")
    assert response.get_json(force=True)["detail"] == (
        "The body ended before all of it had arrived: it is shorter than its Content-Length. Send all of it."
    )
