"""One server whose models have their own batching parameters."""

import shutil

import grpc
import numpy as np
import pytest

from tools.processes import cpu_s

LONG = "batch_timeout_micros { value: 60000000 }"
PARAMETERS = {
    "pairs": f"max_batch_size {{ value: 2 }} {LONG}",
    "padded": f"max_batch_size {{ value: 2 }} {LONG} pad_variable_length_inputs: true",
    "singles": "max_batch_size { value: 1 } max_enqueued_batches { value: 2 }",
    "fours": "max_batch_size { value: 4 } allowed_batch_sizes: 4",
    "split": """
        max_batch_size { value: 8 } max_execution_batch_size { value: 4 } enable_large_batch_splitting { value: true }
    """,
    "defaults": "",
    "alone": None,
}


@pytest.fixture(scope="module")
def server(start_server, saved_model, tmp_path_factory):
    base = tmp_path_factory.mktemp("batching")
    (base / "batching.config").write_text("num_batch_threads { value: 1 }")
    configs = []
    for name, parameters in PARAMETERS.items():
        shutil.copytree(saved_model, base / name)
        if parameters is not None:
            (base / name / "1" / "batching_params.pbtxt").write_text(parameters)
        configs.append(f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}')
    (base / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}")
    return start_server(
        f"--model_config_file={base / 'models.config'}",
        "--enable_batching",
        f"--batching_parameters_file={base / 'batching.config'}",
        "--enable_per_model_batching_parameters",
        "--grpc_max_threads=32",
    ).wait_until_serving()


def refusal(call):
    """Return the status code and details of a call that fails."""
    error = call.exception(timeout=60)
    assert error is not None
    return error.code(), error.details()


def rows(count):
    return np.arange(count, dtype=np.float32)


def test_a_full_batch_is_answered_and_an_incomplete_one_waits(server, half_plus):
    calls = [server.predict_message("pairs", x=np.float32([value])) for value in (1, 2)]
    assert [list(call.result().outputs["y"].float_val) for call in calls] == [[2.5], [3.0]]
    np.testing.assert_array_equal(server.predict("pairs", x=rows(2))[1]["y"], half_plus(rows(2)))
    code, _ = refusal(server.predict_message("pairs", x=rows(1), timeout_s=0.5))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_call_that_timed_out_does_not_affect_its_batch(server):
    code, _ = refusal(server.predict_message("pairs", signature="length", data=np.array([b"abc"]), timeout_s=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.predict("pairs", signature="length", data=np.array([b"a"]))[1]["length"].tolist() == [1]


def test_a_bad_row_fails_the_batch(server):
    calls = [server.predict_message("pairs", signature="pick", index=np.int32([index])) for index in (1, 7)]
    refusals = [refusal(call) for call in calls]
    assert refusals[0] == refusals[1]
    assert refusals[0][0] is grpc.StatusCode.INVALID_ARGUMENT
    assert "= 7 is not in [0, 3)" in refusals[0][1]
    assert server.predict("pairs", signature="pick", index=np.int32([0, 2]))[1]["value"].tolist() == [10, 30]


def test_rows_of_different_shapes_are_padded_or_refused(server):
    images = [np.ones([1, size, size, 1], np.float32) for size in (8, 4)]
    calls = [server.predict_message("pairs", signature="convolve", image=image) for image in images]
    assert [refusal(call) for call in calls] == [
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            (
                "Tensors with name 'convolve_image:0' from different tasks have different shapes and padding is turned "
                "off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim."
            ),
        )
    ] * 2
    calls = [server.predict_message("padded", signature="convolve", image=image) for image in images]
    large, small = (call.result().outputs["mean"].float_val[:] for call in calls)
    assert large == small


def test_a_full_queue_refuses_calls_until_deadlines_empty_it(server, wait_for):
    endless = {"signature": "slow", "rounds": np.int32([10**9]), "timeout_s": 3}
    before_s = cpu_s(server.process.pid)
    calls = [server.predict_message("singles", **endless)]
    wait_for(lambda: cpu_s(server.process.pid) > before_s + 0.1)  # the first call has left the queue and is computed
    calls += [server.predict_message("singles", **endless) for _ in range(9)]
    refusals = sorted((refusal(call) for call in calls), key=lambda refusal: refusal[0].value[0])
    full = (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    assert [code for code, _ in refusals[:3]] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 3
    assert refusals[3:] == [(grpc.StatusCode.UNAVAILABLE, full)] * 7
    quick = {"signature_name": "slow", "instances": [5]}
    wait_for(lambda: server.rest("POST", "/v1/models/singles:predict", quick) == (200, {"predictions": [5]}))


def test_a_batch_is_padded_for_the_model_and_cut_back_for_the_caller(server, half_plus):
    np.testing.assert_array_equal(server.predict("fours", x=rows(1))[1]["y"], half_plus(rows(1)))
    # This signature returns one row for any input.
    assert refusal(server.predict_message("fours", signature="slow", rounds=np.int32([3]))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
    )


@pytest.mark.parametrize(
    ("model", "count", "limit"),
    [
        ("fours", 4, None),
        ("fours", 5, 4),
        ("split", 5, None),
        ("split", 8, None),
        ("split", 9, 8),
        ("defaults", 1000, None),
        ("defaults", 1001, 1000),
        ("alone", 1001, None),
    ],
)
def test_rows_of_a_request_are_limited(server, half_plus, model, count, limit):
    status, document = server.rest("POST", f"/v1/models/{model}:predict", {"instances": rows(count).tolist()})
    if limit is None:
        assert (status, document) == (200, {"predictions": half_plus(rows(count)).tolist()})
    else:
        message = f"Task size {count} is larger than maximum input batch size {limit}"
        assert (status, document) == (400, {"error": message})


def test_a_call_without_rows_is_refused_with_batching(server):
    assert refusal(server.predict_message("pairs", x=rows(0)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert server.predict("alone", x=rows(0))[1]["y"].shape == (0,)


def test_contradicting_parameters_fail_the_start(start_server, saved_model, tmp_path, wait_for):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 3")
    server = start_server(
        "--model_name=m",
        f"--model_base_path={saved_model}",
        "--enable_batching=true",
        "--max_num_load_retries=0",
        f"--batching_parameters_file={file}",
    )
    wait_for(lambda: server.process.poll() is not None)
    assert server.process.returncode == 255
    assert (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} due "
        "to error: INVALID_ARGUMENT: Last entry in allowed_batch_sizes must match max_batch_size; last entry was 3; "
        "expected 4}, }"
    ) in server.log.read_text()
