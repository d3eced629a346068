"""Start, failed start, and the end by signals."""

import shutil
import signal

import grpc
import numpy as np
import pytest


def exit_status(server, wait_for):
    wait_for(lambda: server.process.poll() is not None)
    return server.process.returncode


def test_a_model_that_appears_late_is_served_until_a_signal_lets_requests_in_progress_end(
    start_server, saved_model, tmp_path, wait_for
):
    server = start_server("--model_name=half", f"--model_base_path={tmp_path}")
    wait_for(lambda: "No versions of servable half found" in server.log.read_text())
    shutil.copytree(saved_model / "1", tmp_path / "1")
    server.wait_until_serving()

    slow = server.predict_message("half", signature="slow", timeout_s=60, rounds=np.int32([50_000]))
    assert server.states("half")  # on the same connection, so what was sent before has arrived
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM: no new requests are accepted" in server.log.read_text())
    assert slow.result().outputs["done"].int_val[:] == [50_000]
    assert exit_status(server, wait_for) == 0
    with pytest.raises(grpc.RpcError) as refused:
        server.predict("half", x=np.float32([1]), timeout_s=5)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_second_signal_ends_it_at_once(start_server, saved_model, wait_for):
    server = start_server("--model_name=half", f"--model_base_path={saved_model}").wait_until_serving()
    endless = server.predict_message("half", signature="slow", timeout_s=60, rounds=np.int32([10**9]))
    assert server.states("half")  # on the same connection, so what was sent before has arrived
    server.process.send_signal(signal.SIGINT)
    wait_for(lambda: "SIGINT: no new requests are accepted" in server.log.read_text())
    server.process.send_signal(signal.SIGTERM)
    assert exit_status(server, wait_for) == 128 + signal.SIGTERM
    assert endless.exception(timeout=10) is not None


def test_it_waits_for_its_model_with_closed_ports_and_can_be_ended_there(start_server, tmp_path, wait_for):
    server = start_server(f"--model_base_path={tmp_path / 'missing'}")
    wait_for(lambda: "Could not find base path" in server.log.read_text())
    with pytest.raises(OSError, match="refused"):
        server.rest("GET", "/v1/models/default")
    server.process.send_signal(signal.SIGTERM)
    assert exit_status(server, wait_for) == 0


def test_a_model_that_cannot_be_loaded_ends_the_start(start_server, tmp_path, wait_for):
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
def test_flags_that_do_not_work_end_the_start(start_server, wait_for, flags, message):
    server = start_server(*flags)
    assert exit_status(server, wait_for) == 255
    assert message in server.log.read_text()


def test_flags_without_effect_and_unknown_ones_are_told(start_server, tmp_path, wait_for):
    server = start_server(f"--model_base_path={tmp_path}", "--enable_profiler=true", "--no_such_flag=1")
    wait_for(lambda: "No versions of servable" in server.log.read_text())
    assert "--enable_profiler=true has no effect here" in server.log.read_text()
    assert "unknown argument: --no_such_flag=1" in server.log.read_text()
    server.stop()
    assert server.process.returncode == 0
