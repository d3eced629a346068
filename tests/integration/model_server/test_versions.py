"""Versions that are added, removed, broken or half-copied while one server runs."""

import shutil
import threading

import grpc
import numpy as np
import pytest

from tfs_api.protos import prediction_log_pb2
from tfs_api.tensors import to_tensor_proto

MODELS = ("swapped", "in_flight", "broken", "removed", "warm", "cold", "back", "all")
OK = (0, "")


@pytest.fixture(scope="module")
def base_paths(saved_model, save_model, tmp_path_factory):
    """Copy the model once for each test that changes it."""
    root = tmp_path_factory.mktemp("versions")
    save_model(root / "plus_three", addend=3.0)
    for name in (*MODELS, "partial"):
        shutil.copytree(saved_model, root / name)
    return root


@pytest.fixture(scope="module")
def server(start_server, base_paths):
    policies = {"all": "model_version_policy { all {} }"}
    models = [
        f'config {{ name: "{name}" base_path: "{base_paths / name}" model_platform: "tensorflow" '
        f"{policies.get(name, '')} }}"
        for name in MODELS
    ]
    config = base_paths / "models.config"
    config.write_text(f"model_config_list {{ {' '.join(models)} }}")
    return start_server(f"--model_config_file={config}", "--max_num_load_retries=0").wait_until_serving()


def test_a_new_version_takes_over_without_a_failed_request(server, base_paths, wait_for, half_plus):
    answered, failures, done = set(), [], threading.Event()

    def client():
        while not done.is_set():
            try:
                version, outputs = server.predict("swapped", x=np.float32([1]))
                if outputs["y"].tolist() != half_plus([1], {1: 2.0, 2: 3.0}[version]).tolist():
                    failures.append((version, outputs))
                status, body = server.rest("POST", "/v1/models/swapped:predict", {"instances": [1.0]})
                if status != 200:
                    failures.append(body)
                answered.add(version)
            except (grpc.RpcError, OSError) as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        wait_for(lambda: 1 in answered)
        shutil.copytree(base_paths / "plus_three", base_paths / "swapped" / "2")
        wait_for(lambda: 2 in answered)
    finally:
        done.set()
        for thread in clients:
            thread.join()
    assert failures == []
    assert wait_for(lambda: server.states("swapped") == [(2, "AVAILABLE", *OK), (1, "END", *OK)])
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Specific\(swapped, 1\)"):
        server.predict("swapped", version=1, x=np.float32([1]))


def test_the_old_version_ends_after_its_last_request(server, base_paths, wait_for):
    slow = server.predict_message("in_flight", signature="slow", timeout_s=60, rounds=np.int32([2_000_000]))
    shutil.copytree(base_paths / "plus_three", base_paths / "in_flight" / "2")
    wait_for(lambda: server.predict("in_flight", x=np.float32([1]))[0] == 2)
    assert not slow.done()
    # As recorded from tensorflow_model_server: the new version already answers, the status has not changed yet.
    assert server.states("in_flight") == [(2, "LOADING", *OK), (1, "AVAILABLE", *OK)]
    assert slow.result().model_spec.version.value == 1
    wait_for(lambda: server.states("in_flight") == [(2, "AVAILABLE", *OK), (1, "END", *OK)])


def test_a_broken_version_leaves_the_old_one_serving(server, base_paths, wait_for):
    broken = base_paths / "broken" / "2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"this is not a SavedModel")
    wait_for(lambda: server.states("broken")[0][1] == "END")
    message = f"Can't parse {broken}/saved_model.pb as binary proto"
    assert server.states("broken") == [(2, "END", 15, message), (1, "AVAILABLE", *OK)]
    assert server.predict("broken", x=np.float32([1]))[0] == 1

    # The number is used up: a repaired version needs a new one.
    shutil.rmtree(broken)
    shutil.copytree(base_paths / "plus_three", base_paths / "broken" / "3")
    wait_for(lambda: server.predict("broken", x=np.float32([1]))[0] == 3)


def test_a_half_copied_version_is_not_loaded(start_server, base_paths, wait_for):
    server = start_server("--model_name=partial", f"--model_base_path={base_paths / 'partial'}").wait_until_serving()
    source, target = base_paths / "plus_three", base_paths / "partial" / "2"
    target.mkdir()
    (target / "variables").mkdir()
    shutil.copy(source / "saved_model.pb", target)
    shutil.copy(source / "variables" / "variables.index", target / "variables")
    warning = f"Version 2 of model partial is not complete: {target}/variables/variables.data-00000-of-00001 is missing"
    wait_for(lambda: warning in server.log.read_text())
    assert server.states("partial") == [(2, "LOADING", *OK), (1, "AVAILABLE", *OK)]
    assert server.predict("partial", x=np.float32([1]))[0] == 1
    shutil.copy(source / "variables" / "variables.data-00000-of-00001", target / "variables")
    wait_for(lambda: server.predict("partial", x=np.float32([1]))[0] == 2)


def test_a_removed_model_is_unloaded_and_loaded_again_when_restored(server, base_paths, wait_for, saved_model):
    shutil.rmtree(base_paths / "removed" / "1")
    wait_for(lambda: server.states("removed") == [(1, "END", *OK)])
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(removed\)"):
        server.predict("removed", x=np.float32([1]))
    assert server.rest("POST", "/v1/models/removed:predict", {"instances": [1]})[0] == 404
    shutil.copytree(saved_model / "1", base_paths / "removed" / "1")
    wait_for(lambda: server.states("removed") == [(1, "AVAILABLE", *OK)])


def test_removing_the_latest_version_falls_back_to_the_previous_one(server, base_paths, wait_for):
    shutil.copytree(base_paths / "plus_three", base_paths / "back" / "10")
    wait_for(lambda: server.states("back") == [(10, "AVAILABLE", *OK), (1, "END", *OK)])
    shutil.rmtree(base_paths / "back" / "10")
    wait_for(lambda: server.states("back") == [(10, "END", *OK), (1, "AVAILABLE", *OK)])
    assert server.predict("back", x=np.float32([1]))[0] == 1


def test_the_policy_all_serves_all_versions(server, base_paths, wait_for, half_plus):
    shutil.copytree(base_paths / "plus_three", base_paths / "all" / "2")
    wait_for(lambda: server.states("all") == [(2, "AVAILABLE", *OK), (1, "AVAILABLE", *OK)])
    for version, addend in ((1, 2.0), (2, 3.0)):
        y = server.predict("all", version=version, x=np.float32([1]))[1]["y"]
        assert y.tolist() == half_plus([1], addend).tolist()


def test_warm_up_requests_are_replayed_before_a_version_serves(server, base_paths, wait_for):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "count"
    request.inputs["step"].CopyFrom(to_tensor_proto(np.float32([1])))
    version = base_paths / "warm.new"
    shutil.copytree(base_paths / "plus_three", version)
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for _ in range(3):
            writer.write(log.SerializeToString())
    version.rename(base_paths / "warm" / "2")
    wait_for(lambda: server.states("warm") == [(2, "AVAILABLE", *OK), (1, "END", *OK)])
    assert server.predict("warm", signature="count", step=np.float32([0]))[1]["count"] == 3.0


def test_a_failing_warm_up_request_fails_the_version(server, base_paths, wait_for):
    version = base_paths / "cold.new"
    shutil.copytree(base_paths / "plus_three", version)
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"this is not a TFRecord file")
    version.rename(base_paths / "cold" / "9")
    wait_for(lambda: server.states("cold")[0][:2] == (9, "END"))
    _, _, code, message = server.states("cold")[0]
    assert (code, message[:21]) == (15, "corrupted record at 0")


def entry(name, path):
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'


@pytest.fixture
def polled(start_server, tmp_path, saved_model):
    """A server that polls its configuration and does not wait for models, and a function that writes that file."""
    config = tmp_path / "models.config"

    def configure(*entries):
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}")

    configure(entry("missing", tmp_path / "missing"), entry("first", saved_model))
    flags = ("--model_config_file_poll_wait_seconds=1", "--wait_for_models=false")
    return start_server(f"--model_config_file={config}", *flags).wait_until_serving(), configure


def test_entries_of_a_polled_file_are_added_and_removed(polled, tmp_path, saved_model, wait_for):
    server, configure = polled
    assert server.predict("first", x=np.float32([1]))[0] == 1

    configure(entry("missing", tmp_path / "missing"), entry("second", saved_model))

    wait_for(lambda: server.rest("GET", "/v1/models/second")[0] == 200)
    wait_for(lambda: server.states("second") == [(1, "AVAILABLE", *OK)])
    wait_for(lambda: server.states("first") == [(1, "END", *OK)])

    shutil.copytree(saved_model, tmp_path / "missing")  # mended while the server runs

    wait_for(lambda: server.rest("GET", "/v1/models/missing")[0] == 200)
    wait_for(lambda: server.states("missing") == [(1, "AVAILABLE", *OK)])


def test_an_entry_on_another_file_system_keeps_no_other_model_from_being_served(start_server, tmp_path, saved_model):
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {entry('remote', 's3://b/remote')} {entry('first', saved_model)} }}")

    server = start_server(f"--model_config_file={config}", "--wait_for_models=false").wait_until_serving()

    assert server.predict("first", x=np.float32([1]))[0] == 1
    assert "Base path s3://b/remote is on another file system." in server.log.read_text()


def test_a_server_that_waits_for_its_models_refuses_one_on_another_file_system(start_server, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {entry('remote', 's3://b/remote')} }}")

    server = start_server(f"--model_config_file={config}")

    assert server.process.wait(timeout=30) == 255
    assert "INVALID_ARGUMENT: Base path s3://b/remote is on another file system." in server.log.read_text()


def test_a_damaged_file_is_logged_and_changes_nothing(polled, saved_model, wait_for):
    server, configure = polled

    configure(entry("second", saved_model), "broken {")

    wait_for(lambda: "Failed to reload from ModelServerConfig file: Invalid protobuf file" in server.log.read_text())
    assert server.predict("first", x=np.float32([1]))[0] == 1


def test_a_file_that_is_emptied_is_logged_and_changes_nothing(polled, tmp_path, wait_for):
    server, _ = polled

    (tmp_path / "models.config").write_text("")

    wait_for(lambda: "lists no models; those that are served stay" in server.log.read_text())
    assert server.predict("first", x=np.float32([1]))[0] == 1
