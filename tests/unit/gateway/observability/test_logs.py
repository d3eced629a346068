import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]

# The process under test; it logs to its standard error like a worker.
PROGRAM = """
import logging
import sys
from flask import abort
from gateway.models.configured import ConfiguredModels
from gateway.app import create_app
from gateway.observability.logs import configure
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from vision.card import Card, InputSpec
import cv2
import numpy

configure(level=sys.argv[1], as_json=sys.argv[2] == "json")
server = FakeModelServer()
card = Card(name="pets", labels=("cat", "dog"), input=InputSpec(height=4, width=4))
server.swap("pets", 1, classifier(card, constant(0.3, 0.7)))
settings = Settings(models=("pets",))
app = create_app(settings, server=server, fetcher=None, configured_models=ConfiguredModels.from_names(settings.models))

@app.get("/bug")
def bug():
    password = "hunter2"
    return password / 0

client = app.test_client()
png = cv2.imencode(".png", numpy.zeros((4, 4), numpy.uint8))[1].tobytes()
client.post("/api/v1/predict", data=png, content_type="image/png", headers={"X-Request-ID": "good"})
client.post("/api/v1/predict", data=b"text", content_type="text/plain", headers={"X-Request-ID": "refused"})
client.get("/livez", headers={"X-Request-ID": "probe"})
client.get("/%1b%5b31m%0aforged")
client.get("/bug", headers={"X-Request-ID": "bug"})
logging.getLogger("a.library").warning("%s of %d", "first", 2)
logging.getLogger("gunicorn.error").info("Booting worker with pid: %s", 7)
logging.getLogger("werkzeug").debug("quiet")
try:
    raise KeyError("lost")
except KeyError:
    logging.getLogger("a.library").exception("failed with an umlaut: ä")
"""


@pytest.fixture(scope="module")
def run() -> Callable[..., str]:
    """Return a function that runs the program and returns its log."""

    def run(level: str, form: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, level, form],
            cwd=ROOT,
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.stdout == ""
        return done.stderr

    return run


@pytest.fixture(scope="module")
def lines(run: Callable[..., str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("info", "json").splitlines()]


def matching(lines: list[dict[str, Any]], **fields: object) -> list[dict[str, Any]]:
    return [line for line in lines if fields.items() <= line.items()]


def test_every_line_is_an_object_with_time_level_logger_and_event(lines: list[dict[str, Any]]):
    assert len(lines) > 5
    for line in lines:
        assert {"timestamp", "level", "logger", "event"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


def test_a_request_is_logged_with_one_line(lines: list[dict[str, Any]]):
    (line,) = matching(lines, event="request", request_id="good")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/api/v1/predict", 200)
    assert (line["model"], line["version"], line["class"]) == ("pets", 1, "dog")
    assert line["level"] == "info"
    assert line["duration_ms"] > 0


def test_a_refused_request_is_logged_at_info_with_its_problem(lines: list[dict[str, Any]]):
    (line,) = matching(lines, request_id="refused")
    assert (line["status"], line["problem"], line["level"]) == (415, "unsupported-media-type", "info")
    assert "model" not in line


def test_probes_are_not_logged_at_info(lines: list[dict[str, Any]]):
    assert not matching(lines, request_id="probe")


def test_every_line_of_a_request_has_its_id(lines: list[dict[str, Any]]):
    assert [line["event"] for line in matching(lines, request_id="good")] == ["model_version_answers", "request"]


def test_a_bug_is_logged_with_its_traceback_and_without_local_variables(lines: list[dict[str, Any]]):
    (line,) = matching(lines, event="unexpected_error")
    assert (line["level"], line["request_id"]) == ("error", "bug")
    (exception,) = line["exception"]
    assert exception["exc_type"] == "TypeError"
    assert exception["frames"][-1]["name"] == "bug"
    assert "hunter2" not in json.dumps(lines)
    assert matching(lines, event="request", request_id="bug")[0]["status"] == 500


def test_libraries_log_in_the_same_form(lines: list[dict[str, Any]]):
    (line,) = matching(lines, event="first of 2")
    assert (line["logger"], line["level"]) == ("a.library", "warning")
    (line,) = matching(lines, logger="gunicorn.error")
    assert line["event"] == "Booting worker with pid: 7"
    (line,) = matching(lines, event="failed with an umlaut: ä")
    assert line["exception"][0]["exc_type"] == "KeyError"


def test_no_line_is_logged_twice(lines: list[dict[str, Any]]):
    texts = [json.dumps(line) for line in lines]
    assert len(set(texts)) == len(texts)


def test_the_level_can_be_set(run: Callable[..., str]):
    events = [json.loads(line) for line in run("debug", "json").splitlines()]
    assert matching(events, path="/livez", level="debug")
    assert matching(events, event="quiet", logger="werkzeug")


def test_lines_can_be_text_for_people(run: Callable[..., str]):
    text = run("info", "text")
    assert "unexpected_error" in text
    assert "TypeError: unsupported operand" in text
    assert "hunter2" not in text
    assert r"/\x1b[31m\nforged" in text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text.splitlines()[0])


def test_the_traceback_of_a_library_cannot_be_taken_for_other_lines(run: Callable[..., str]):
    text = run("info", "text")
    start = text.index("failed with an umlaut")

    traceback = text[text.index("\n", start) + 1 : text.index("KeyError: 'lost'")]

    assert traceback
    assert all(line.startswith("    ") for line in traceback.splitlines())
