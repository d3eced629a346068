"""What `make run` prints about models that fail while it runs, from the model server's states and the gateway's log."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.failed_models import FailedModels

LOGITS = "pets version 1 cannot be used. Its scores are not probabilities."


@pytest.fixture
def states() -> dict[str, list[tuple[int, str, str]]]:
    """The version, state and message of each version of each model of the model server."""
    return {}


@pytest.fixture
def rest_port(states: dict[str, list[tuple[int, str, str]]]) -> Iterator[int]:
    class ModelServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            versions = [
                {"version": str(version), "state": state, "status": {"error_message": message}}
                for version, state, message in states.get(self.path.removeprefix("/v1/models/"), [])
            ]
            self.send_response(200 if versions else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": versions} if versions else {"error": "no"}).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), ModelServer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., None]:
    """Return a function that adds an event to the gateway's log."""

    def log(event: str, **members: object) -> None:
        with (tmp_path / "gateway.log").open("a") as file:
            file.write(f"{json.dumps({'event': event, **members})}\n")

    return log


@pytest.fixture
def failed(rest_port: int, tmp_path: Path) -> FailedModels:
    return FailedModels(rest_port, tmp_path / "gateway.log")


def test_a_version_that_cannot_be_loaded_is_found(failed: FailedModels, states: dict[str, list[tuple[int, str, str]]]):
    states["pets"] = [(1, "AVAILABLE", ""), (2, "END", "Read less bytes than requested")]
    states["digits"] = [(1, "END", "Broken"), (2, "AVAILABLE", "")]

    found = failed.find(["pets", "digits", "unknown"])

    assert found == {
        "pets": "Version 2 could not be loaded. Its files in `variables` are cut off. Copy the model again."
    }


def test_a_model_is_refused_until_its_newest_version_answers(
    failed: FailedModels, log: Callable[..., None], states: dict[str, list[tuple[int, str, str]]]
):
    states["pets"] = [(1, "AVAILABLE", "")]
    log("model_unusable", model="pets", reason=LOGITS)
    log("request", path="/")
    assert failed.find(["pets"]) == failed.find(["pets"]) == {"pets": LOGITS}

    log("model_unusable", model="pets", reason="The model server cannot be reached. Try again shortly.")
    assert failed.find(["pets"]) == {"pets": LOGITS}

    log("model_version_answers", model="pets", version=1)
    assert failed.find(["pets"]) == {}

    states["pets"] = [(1, "AVAILABLE", ""), (2, "AVAILABLE", "")]
    log("model_unusable", model="pets", reason=LOGITS)
    log("model_version_answers", model="pets", version=1)  # a new worker, which serves the older version
    assert failed.find(["pets"]) == {"pets": LOGITS}


def test_what_cannot_be_read_says_nothing(failed: FailedModels, tmp_path: Path):
    assert failed.find(["pets"]) == {}
    (tmp_path / "gateway.log").write_bytes(b'"model_unusable"\n{"event": "model_unusable"}\n{"event": "m')

    assert failed.find(["pets"]) == {}
