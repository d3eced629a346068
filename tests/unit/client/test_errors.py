"""Problems as exceptions and as values."""

import copy
import pickle

import pytest

from image_gateway_client.errors import (
    BUSY_STATUSES,
    NoAnswerError,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
    parse_problem,
)
from image_gateway_client.jobs.job import Job, JobNotFinishedError
from image_gateway_client.keys import KeyNameError
from image_gateway_client.resume import OutputError

DOCUMENT = {
    "type": "/problems/body-too-large",
    "title": "Too many bytes",
    "status": 413,
    "detail": "The body has more than 10 bytes.",
    "max_bytes": 10,
    "request_id": "r-7",
}


def test_every_member_of_a_problem_document_is_parsed():
    problem = parse_problem(DOCUMENT, 413)
    assert problem == Problem(
        "/problems/body-too-large", "Too many bytes", DOCUMENT["detail"], 413, "r-7", {"max_bytes": 10}
    )
    assert str(problem) == "Too many bytes: The body has more than 10 bytes."


def test_every_member_may_be_missing_or_of_another_type():
    for document in ({}, {"type": None, "title": 3, "status": "413", "detail": [], "request_id": {}}):
        assert parse_problem(document) == Problem("about:blank", "The gateway gave no reason")


def test_the_status_of_the_response_takes_precedence_over_the_document():
    assert parse_problem(DOCUMENT, 502).status == 502
    assert parse_problem(DOCUMENT).status == 413


def test_the_message_has_status_title_detail_and_request():
    assert str(ProblemError(parse_problem(DOCUMENT))) == (
        "413 Too many bytes: The body has more than 10 bytes. (request r-7)"
    )
    assert str(ProblemError(Problem("about:blank", "Odd"))) == "Odd"


def test_a_detail_that_begins_with_the_title_stands_alone():
    problem = Problem("/problems/x", "The image cannot be decoded", "The image cannot be decoded: it is cut off.")
    assert str(problem) == "The image cannot be decoded: it is cut off."


def test_a_problem_can_be_hashed_like_any_value():
    assert len({parse_problem(DOCUMENT), parse_problem(DOCUMENT)}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 502, 503, 504])
def test_only_busy_statuses_are_transient(status):
    assert ProblemError(parse_problem({}, status)).transient == (status in BUSY_STATUSES) == (status in {429, 503})


def by_pickle(error):
    return pickle.loads(pickle.dumps(error))  # noqa: S301  # our own


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, by_pickle])
@pytest.mark.parametrize(
    "error",
    [
        NoAnswerError("refused", transient=False),
        UnexpectedAnswerError("html"),
        ProblemError(parse_problem(DOCUMENT), retry_after_s=7.0),
        JobNotFinishedError(Job("job-1", "running", 3), 5.0),
        KeyNameError("two"),
        OutputError("exists"),
    ],
)
def test_an_error_reaches_another_process_as_it_is(clone, error):
    copied = clone(error)

    assert type(copied) is type(error)
    assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))


def test_a_broken_connection_is_transient_and_another_protocol_is_not():
    assert NoAnswerError("refused").transient
    assert not UnexpectedAnswerError("html").transient
