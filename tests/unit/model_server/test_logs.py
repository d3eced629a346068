import io
import json
import logging
import re

import pytest

from model_server.logs import JsonFormatter


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def logger(stream):
    logger = logging.getLogger("model_server.part")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_line_is_an_object_with_the_fields_of_the_gateways_log(logger, stream):
    logger.warning('%s is "odd"\n: ä', "model", extra={"request_id": "r-1"})

    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("timestamp"))
    assert fields == {
        "level": "warning",
        "logger": "model_server.part",
        "event": 'model is "odd"\n: ä',
        "request_id": "r-1",
    }


def test_an_exception_is_listed_with_its_causes(logger, stream):
    def fail():
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("no y") from error

    try:
        fail()
    except ValueError:
        logger.exception("It failed")

    fields = json.loads(stream.getvalue())
    assert "request_id" not in fields
    assert [(error["exc_type"], error["exc_value"]) for error in fields["exception"]] == [
        ("ValueError", "no y"),
        ("KeyError", "'x'"),
    ]
    assert fields["exception"][0]["frames"][-1]["name"] == "fail"
