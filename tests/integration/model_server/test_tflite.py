"""Servers that serve model.tflite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.support.tflite_files import doubling_model, doubling_table, model_without_a_subgraph

ROOT = Path(__file__).parents[3]
X = np.float32([[1, 2], [3, 4]])


def publish(base, version, content):
    """Write a version completely before it appears."""
    folder = base / f"{version}.part"
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(content)
    folder.rename(base / str(version))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "double"
    publish(base, 1, doubling_model(table=doubling_table()))
    return base


@pytest.fixture(scope="module")
def server(start_server, base):
    flags = ("--model_name=double", f"--model_base_path=file://{base}", "--num_tflite_pools=2")
    return start_server("--prefer_tflite_model", "--host=127.0.0.1", *flags).wait_until_serving()


def assert_answers(server, version=1):
    used, outputs = server.predict("double", x=X)
    assert used == version
    np.testing.assert_array_equal(outputs["y"], 2 * X)


def test_predict_over_both_protocols(server):
    assert_answers(server)
    assert server.rest("POST", "/v1/models/double:predict", {"instances": X.tolist()}) == (
        200,
        {"predictions": (2 * X).tolist()},
    )
    body = {"signature_name": "both", "inputs": {"x": [[1, 2]], "n": [3]}}
    assert server.rest("POST", "/v1/models/double:predict", body) == (200, {"outputs": {"y": [[2.0, 4.0]], "m": [6]}})


def test_metadata_has_the_signatures_of_the_table(server):
    status, document = server.rest("GET", "/v1/models/double/metadata")

    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert (status, sorted(signatures)) == (200, ["both", "count", "serving_default"])
    assert signatures["count"]["inputs"]["n"]["name"] == "n:0"


def test_the_log_tells_the_form_that_is_served(server, base):
    log = server.log.read_text()

    assert f"Reading TensorFlow Lite model from: {base}/1/model.tflite (interpreters: 2)" in log
    assert "Reading SavedModel from" not in log


def test_classify_needs_a_signature_for_it(server):
    status, document = server.rest("POST", "/v1/models/double:classify", {"examples": [{"x": 1.0}]})

    assert status == 400
    assert "No classification inputs found in SignatureDef" in document["error"]


@pytest.mark.parametrize(
    "x",
    [np.float64(X), np.int64(X), np.array([[b"1", b"2"]], object), np.float32(1), np.ones((2, 3, 4), np.float32)],
    ids=["float64", "int64", "string", "scalar", "rank 3"],
)
def test_no_input_ends_the_server(server, x):
    try:
        server.predict("double", x=x)
    except grpc.RpcError as error:
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}  # noqa: PT017  # some shapes are computed

    assert_answers(server)


def test_no_instances_are_an_error(server):
    status, document = server.rest("POST", "/v1/models/double:predict", {"instances": []})

    assert status in {400, 500}
    assert document["error"]
    assert_answers(server)


DAMAGED = {
    "empty": b"",
    "not a model": os.urandom(1000),
    "half": doubling_model()[:250],
    "crashes": model_without_a_subgraph(),
    "huge": doubling_model(second_shape=(2**30, 2**10)),
}


def test_damaged_files_fail_only_their_versions(start_server, tmp_path, wait_for):
    base = tmp_path / "double"
    publish(base, 1, doubling_model(table=doubling_table()))
    flags = ("--model_name=double", f"--model_base_path={base}", "--max_num_load_retries=0")
    server = start_server("--prefer_tflite_model", *flags).wait_until_serving()

    for version, content in enumerate(DAMAGED.values(), start=2):
        publish(base, version, content)
        wait_for(lambda version=version: f"name: double version: {version}}} failed" in server.log.read_text())
        assert_answers(server)

    good = 2 + len(DAMAGED)
    publish(base, good, doubling_model(table=doubling_table()))
    wait_for(lambda: server.predict("double", x=X)[0] == good)


def test_the_server_does_not_import_tensorflow(base):
    code = """
import json, sys
from pathlib import Path
from model_server import __main__
from model_server.memory import MemoryBudget
from model_server.options import Options
from model_server.runtime.loading import import_tensorflow_if_needed, load_version
from model_server.versions.repository import ModelConfig
base = Path(sys.argv[1])
options = Options(prefer_tflite_model=True)
import_tensorflow_if_needed([ModelConfig("double", base)], prefer_tflite=True)
load_version(base / "1", options, MemoryBudget(2**31))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tensorboard"})))
"""
    output = subprocess.run([sys.executable, "-c", code, str(base)], cwd=ROOT, check=True, capture_output=True).stdout

    assert json.loads(output) == []


def test_a_saved_model_without_tensorflow_names_what_to_install(saved_model):
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "tensorflow" else real(name, *rest)
from model_server.errors import ServingError
from model_server.memory import MemoryBudget
from model_server.options import Options
from model_server.runtime.loading import import_tensorflow_if_needed, load_version
from model_server.versions.repository import ModelConfig
base = Path(sys.argv[1])
def load(_number):
    try:
        load_version(base / "1", Options(prefer_tflite_model=True), MemoryBudget(2**31))
    except ServingError as error:
        print(error)
with ThreadPoolExecutor(4) as pool:
    pool.submit(import_tensorflow_if_needed, [ModelConfig("half", base)], prefer_tflite=True)
    list(pool.map(load, range(4)))
"""
    command = [sys.executable, "-c", code, str(saved_model)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert output.count("FAILED_PRECONDITION: A SavedModel needs TensorFlow, which is not installed") == 4


def test_one_server_serves_both_forms(start_server, saved_model, base, tmp_path):
    file = tmp_path / "models.config"
    entry = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'
    entries = entry.format("double", base) + entry.format("half", saved_model)
    file.write_text(f"model_config_list {{ {entries} }}")

    server = start_server("--prefer_tflite_model", "--enable_batching", f"--model_config_file={file}")
    server.wait_until_serving()

    np.testing.assert_array_equal(server.predict("double", x=X)[1]["y"], 2 * X)
    assert server.predict("half", x=np.float32([1]))[1]["y"].tolist() == [2.5]
    assert f"Reading SavedModel from: {saved_model}/1" in server.log.read_text()
