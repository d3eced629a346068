"""Requests recorded from tensorflow_model_server 2.20, repeated on this server.

Answers that differ are listed here with the reason. An entry that has become equal fails, so that the list can only
shrink. The summary of the test run counts both.
"""

import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.support.waiting import LONG_S

SHARED = Path(__file__).parents[3] / "../shared/tfs_groundtruth"

if not SHARED.is_dir():
    pytest.skip("../shared/tfs_groundtruth is not here", allow_module_level=True)

pytestmark = pytest.mark.in_order  # some models count their requests
LONG_NUMBERS = "RapidJSON's conversion of long numbers to double is off by the last digits"
DIFFERENT = {
    "grpc batching-empty-batch": "refused; the real server does not answer until another request arrives",
    "grpc raw-garbage-request": "INTERNAL as well, but with the message of Python's gRPC library",
    "rest header-many": "Python's HTTP server accepts at most 100 headers",
    "rest json-deep-nesting": "Python's recursion limit is reached before TensorFlow's limit on nesting",
    "rest json-nesting-254": "numpy supports 64 dimensions, TensorFlow 254",
    "rest range-float64-big-int": LONG_NUMBERS,
    "rest range-uint64-above": LONG_NUMBERS,
}
UNANSWERED = {
    "server_exits": "a tensor that crashes the real server is an error here",
    "no_response": "answered; the real server never answers",
}
"""Requests that the real server does not answer, by the key in the recording."""


def load_replay():
    """Import `replay` with more patience than its 15 s: twelve megabytes of numbers take 3 s, and longer when busy."""
    spec = importlib.util.spec_from_file_location("replay", SHARED / "replay.py")
    replay = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(replay)
    replay.socket = types.SimpleNamespace(create_connection=lambda to, **_: socket.create_connection(to, LONG_S))
    return replay


REPLAY = load_replay()


def marks(kind, case):
    reason = DIFFERENT.get(f"{kind} {case['id']}")
    return [pytest.mark.xfail(reason=reason)] if reason else []


def cases(kind):
    return [
        pytest.param(case, id=f"{case['server']}-{case['id']}", marks=marks(kind, case))
        for case in REPLAY.load(f"{kind}.jsonl")
    ]


@pytest.fixture(scope="module")
def server_of(start_server, tmp_path_factory):
    """Return a function that returns the running server with a name from servers.json."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    directory = tmp_path_factory.mktemp("truth")
    models = directory / "models"
    # In a process of its own, as for the recording: Keras numbers its layers by what else the process has built.
    subprocess.run([sys.executable, SHARED / "make_models.py", "--dest", models], check=True)
    descriptions = json.loads((SHARED / "servers.json").read_text())
    running = {}

    def start(name):
        description = descriptions[name]
        base = descriptions[description["like"]] if "like" in description else {"flags": [], "files": {}}
        for file, text in {**base["files"], **description.get("files", {})}.items():
            (directory / file).write_text(text.replace("{MODELS}", str(models)))
        flags = [*base["flags"], *description["flags"]]
        return start_server(*(flag.replace("{DIR}", str(directory)).replace("{MODELS}", str(models)) for flag in flags))

    def server_of(name):
        if not running:  # they start side by side
            running.update({started: start(started) for started in descriptions})
        return running[name].wait_until_serving()

    return server_of


@pytest.mark.parametrize("case", cases("rest"))
def test_rest(server_of, case):
    server = server_of(case["server"])
    try:
        answer = REPLAY.rest(case, ("127.0.0.1", server.rest_port))
    except (OSError, http.client.HTTPException) as error:
        pytest.fail(f"no answer: {error!r}")
    expect_if_unanswered(case, answer[0] in (400, 501))
    assert REPLAY.rest_differs(case, *answer) is None


@pytest.mark.parametrize("case", cases("grpc"))
def test_grpc(server_of, case):
    channel = server_of(case["server"]).channel
    if "server_exits" in case["response"]:
        answer = REPLAY.grpc_differs({**case, "response": {"code": "what it does not answer"}}, channel)
        expect_if_unanswered(case, answer.startswith("INVALID_ARGUMENT"))
    assert REPLAY.grpc_differs(case, channel) is None


def expect_if_unanswered(case, condition):
    """Check `condition` for a request that the real server does not answer, and count it as an exception."""
    for key, reason in UNANSWERED.items():
        if key in case["response"]:
            assert condition
            pytest.xfail(reason)
