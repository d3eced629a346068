"""Start, failed start, and stop by signals."""

import shutil
import signal

import grpc
import numpy as np
import pytest

from tests.support.listeners import listeners


def exit_status(server, wait_for):
    wait_for(lambda: server.process.poll() is not None)
    return server.process.returncode


def test_a_late_model_is_served_and_a_signal_lets_requests_finish(start_server, saved_model, tmp_path, wait_for):
    server = start_server("--model_name=half", f"--model_base_path={tmp_path}")
    wait_for(lambda: "No versions of servable half found" in server.log.read_text())
    shutil.copytree(saved_model / "1", tmp_path / "1")
    server.wait_until_serving()

    slow = server.predict_message("half", signature="slow", timeout_s=60, rounds=np.int32([50_000]))
    assert server.states("half")  # the same connection: the request before has arrived
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM: no new requests are accepted" in server.log.read_text())
    assert slow.result().outputs["done"].int_val[:] == [50_000]
    assert exit_status(server, wait_for) == 0
    with pytest.raises(grpc.RpcError) as failure:
        server.predict("half", x=np.float32([1]), timeout_s=5)
    assert failure.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_second_signal_exits_at_once(start_server, saved_model, wait_for):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}").wait_until_serving()
    endless = server.predict_message("half", signature="slow", timeout_s=60, rounds=np.int32([10**9]))
    assert server.states("half")  # the same connection: the request before has arrived
    server.process.send_signal(signal.SIGINT)
    wait_for(lambda: "SIGINT: no new requests are accepted" in server.log.read_text())
    server.process.send_signal(signal.SIGTERM)
    assert exit_status(server, wait_for) == 128 + signal.SIGTERM
    assert endless.exception(timeout=10) is not None


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ("Loading servable version", signal.SIGTERM),
        ("Successfully loaded", signal.SIGINT),
        ("Running gRPC", signal.SIGTERM),
        ("Exporting HTTP", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_of_the_start_ends_the_server(start_server, saved_model, wait_for, event, number):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}")
    wait_for(lambda: event in server.log.read_text())

    server.process.send_signal(number)

    assert exit_status(server, wait_for) == 0
    assert "Traceback" not in server.log.read_text()


def test_only_the_given_address_is_listened_on(start_server, saved_model):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}", "--host=127.0.0.1")

    server.wait_until_serving()

    assert listeners(server.process.pid) == {("127.0.0.1", server.grpc_port), ("127.0.0.1", server.rest_port)}


def test_ports_stay_closed_until_the_model_appears(start_server, tmp_path, wait_for):
    server = start_server(f"--model_base_path={tmp_path / 'missing'}")
    wait_for(lambda: "Could not find base path" in server.log.read_text())
    with pytest.raises(OSError, match="refused"):
        server.rest("GET", "/v1/models/default")
    server.process.send_signal(signal.SIGTERM)
    assert exit_status(server, wait_for) == 0


def test_a_model_that_fails_to_load_fails_the_start(start_server, tmp_path, wait_for):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"this is not a SavedModel")
    server = start_server(f"--model_base_path={tmp_path}", "--max_num_load_retries=0")
    assert exit_status(server, wait_for) == 255
    assert (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: default version: 1} "
        f"due to error: DATA_LOSS: Can't parse {tmp_path}/1/saved_model.pb as binary proto}}, }}"
    ) in server.log.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (("--model_config_file=/does/not/exist.config",), "NOT_FOUND: /does/not/exist.config; No such file"),
        (("--num_load_retries=1", "--max_num_load_retries=abc"), "Couldn't interpret value abc for flag"),
    ],
)
def test_invalid_flags_fail_the_start(start_server, wait_for, flags, message):
    server = start_server(*flags)
    assert exit_status(server, wait_for) == 255
    assert message in server.log.read_text()


def test_ignored_and_unknown_flags_are_logged(start_server, tmp_path, wait_for):
    server = start_server(f"--model_base_path={tmp_path}", "--enable_profiler=true", "--no_such_flag=1")
    wait_for(lambda: "No versions of servable" in server.log.read_text())
    assert "--enable_profiler=true has no effect here" in server.log.read_text()
    assert "unknown argument: --no_such_flag=1" in server.log.read_text()
    server.stop()
    assert server.process.returncode == 0
