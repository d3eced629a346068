"""Start `python -m model_server` processes, and make small SavedModels for them."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.support.waiting import until
from tfs_api.protos import get_model_status_pb2, predict_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import from_tensor_proto, to_tensor_proto
from tools.ports import find

ROOT = Path(__file__).parents[3]
START_TIMEOUT_S = 90


def wait_for(condition, timeout_s=START_TIMEOUT_S):
    """Return the first true value of `condition()`."""
    return until(condition, timeout_s)


@dataclass
class Server:
    """A model server in a process of its own."""

    process: subprocess.Popen
    log: Path
    grpc_port: int
    rest_port: int

    def __post_init__(self):
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc_port}",
            [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def wait_until_serving(self):
        def serving():
            assert self.process.poll() is None, self.log.read_text()
            return "Exporting HTTP/REST API" in self.log.read_text()

        wait_for(serving)
        return self

    def predict_message(self, name, version=None, timeout_s=30.0, signature="", **inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(to_tensor_proto(array))
        return self._prediction.Predict.future(request, timeout=timeout_s)

    def predict(self, name, **arguments):
        """Return the version that was used, and its outputs."""
        response = self.predict_message(name, **arguments).result()
        outputs = {alias: from_tensor_proto(proto) for alias, proto in response.outputs.items()}
        return response.model_spec.version.value, outputs

    def states(self, name):
        """Return (version, state, error code, error message) of each version, the newest first."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        response = self._models.GetModelStatus(request, timeout=10)
        return [
            (
                status.version,
                get_model_status_pb2.ModelVersionStatus.State.Name(status.state),
                status.status.error_code,
                status.status.error_message,
            )
            for status in response.model_version_status
        ]

    def rest(self, method, path, body=None, timeout_s=30):
        """Return status and JSON (otherwise text) of one REST request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body))
            response = connection.getresponse()
            text = response.read().decode()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.channel.close()


REPLAYED = re.compile(r"test_ground_truth\.py::test_(rest|grpc)\[")
COMPARED = {
    "passed": "equal",
    "xfailed": "listed exceptions",
    "failed": "different",
    "error": "not sent",
    "skipped": "skipped",
}
"""Meaning of a test's outcome for a recorded answer."""


def pytest_terminal_summary(terminalreporter):
    """Report how many recorded requests were repeated, and how many answers are equal."""
    counts = {
        word: sum(bool(REPLAYED.search(report.nodeid)) for report in terminalreporter.getreports(outcome))
        for outcome, word in COMPARED.items()
    }
    if total := sum(counts.values()):
        always = ("equal", "listed exceptions")
        summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word in always)
        terminalreporter.write_line(f"ground truth: {total} pairs, {summary}")


@pytest.fixture(name="wait_for", scope="session")
def wait_for_fixture():
    return wait_for


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Start servers, which are stopped at the end of the session."""
    servers = []

    def start(*flags):
        log = tmp_path_factory.mktemp("server") / "log"
        grpc_port, rest_port = find(2)
        command = [sys.executable, "-m", "model_server", f"--port={grpc_port}", f"--rest_api_port={rest_port}", *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        servers.append(Server(process, log, grpc_port, rest_port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def save_model():
    """Save models with signatures for x / 2 + n, a convolution, string lengths, a lookup and a counter."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def save(path, addend=2.0):
        module = tf.Module()
        module.addend = tf.Variable(addend)
        module.kernel = tf.Variable(tf.ones([3, 3, 1, 2]))
        module.count = tf.Variable(0.0)

        def half_plus(x):
            return {"y": x * 0.5 + module.addend}

        def convolve(image):
            return {"mean": tf.reduce_mean(tf.nn.conv2d(image, module.kernel, 1, "SAME"), [1, 2, 3])}

        def length(data):
            return {"length": tf.strings.length(data)}

        def pick(index):
            return {"value": tf.gather(tf.constant([10.0, 20.0, 30.0]), index)}

        def slow(rounds):
            (done,) = tf.while_loop(lambda i: i < rounds[0], lambda i: (i + 1,), [tf.constant(0)])
            return {"done": tf.reshape(done, [1])}

        def count(step):
            return {"count": module.count.assign_add(tf.reduce_sum(step))}

        signatures = {
            "serving_default": (half_plus, tf.TensorSpec([None], tf.float32, "x")),
            "convolve": (convolve, tf.TensorSpec([None, 8, 8, 1], tf.float32, "image")),
            "length": (length, tf.TensorSpec([None], tf.string, "data")),
            "pick": (pick, tf.TensorSpec([None], tf.int32, "index")),
            "slow": (slow, tf.TensorSpec([None], tf.int32, "rounds")),
            "count": (count, tf.TensorSpec([None], tf.float32, "step")),
        }
        functions = {
            name: tf.function(function, input_signature=[spec]) for name, (function, spec) in signatures.items()
        }
        module.functions = functions
        tf.saved_model.save(module, str(path), signatures=functions)
        return path

    return save


@pytest.fixture(scope="session")
def saved_model(save_model, tmp_path_factory):
    """Return a directory with version 1 of the model; copy it, do not change it."""
    base = tmp_path_factory.mktemp("models") / "half"
    save_model(base / "1")
    return base


@pytest.fixture(scope="session")
def half_plus():
    """Return a function that computes the expected output for x."""
    return lambda x, addend=2.0: np.asarray(x, np.float32) * 0.5 + np.float32(addend)
