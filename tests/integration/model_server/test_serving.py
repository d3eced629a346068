"""One running server: predict over both APIs, invalid requests, deadlines, concurrent requests."""

import concurrent.futures
import time

import grpc
import numpy as np
import pytest

from tfs_api.protos import types_pb2


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory):
    return tmp_path_factory.mktemp("socket") / "grpc"


@pytest.fixture(scope="module")
def server(start_server, saved_model, socket_path):
    model = ("--model_name=half", f"--model_base_path={saved_model}")
    limits = ("--grpc_max_threads=4", "--rest_api_num_threads=2")
    return start_server(*model, *limits, f"--grpc_socket_path={socket_path}").wait_until_serving()


def test_predict_over_grpc(server, half_plus):
    version, outputs = server.predict("half", x=np.float32([1, 2, 5]))
    assert version == 1
    np.testing.assert_array_equal(outputs["y"], half_plus([1, 2, 5]))


def test_numbers_are_returned_in_typed_fields(server):
    response = server.predict_message("half", x=np.float32([1])).result()
    assert response.outputs["y"].dtype == types_pb2.DT_FLOAT
    assert (list(response.outputs["y"].float_val), response.outputs["y"].tensor_content) == ([2.5], b"")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
        ({"instances": [{"x": 1.0}]}, {"predictions": [2.5]}),
        ({"inputs": {"x": [1.0, 2.0]}}, {"outputs": [2.5, 3.0]}),
        ({"signature_name": "length", "instances": [{"b64": "aGVsbG8="}]}, {"predictions": [5]}),
    ],
)
def test_predict_over_rest(server, body, answer):
    assert server.rest("POST", "/v1/models/half:predict", body) == (200, answer)


def test_status_and_metadata_over_rest(server):
    status, document = server.rest("GET", "/v1/models/half/versions/1")
    assert (status, document["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    status, document = server.rest("GET", "/v1/models/half/metadata")
    assert status == 200
    signature = document["metadata"]["signature_def"]["signature_def"]["convolve"]
    assert [dim["size"] for dim in signature["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "8", "8", "1"]


@pytest.mark.parametrize("shape", [(), (1,), (8, 8), (1, 64), (1, 8, 8), (1, 8, 8, 1, 1), (0, 0)])
def test_a_wrong_rank_before_a_convolution_is_refused(server, shape):
    with pytest.raises(grpc.RpcError) as failure:
        server.predict("half", signature="convolve", image=np.zeros(shape, np.float32))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "input image must have 4 dimensions" in failure.value.details()


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 1, 1, 1), (3, 9, 5, 1), (1, 0, 0, 1), (0, 8, 8, 1)])
def test_other_wrong_shapes_do_not_crash_the_server(server, shape):
    call = server.predict_message("half", signature="convolve", image=np.zeros(shape, np.float32))
    assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
    assert server.predict("half", x=np.float32([1]))[0] == 1


def test_a_wrong_type_is_refused(server):
    with pytest.raises(grpc.RpcError) as failure:
        server.predict("half", x=np.float64([1]))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.value.details() == "Expects arg[0] to be float but double is provided"


def test_a_deadline_stops_the_computation(server, wait_for):
    started_s = time.monotonic()
    with pytest.raises(grpc.RpcError) as late:
        server.predict("half", signature="slow", timeout_s=0.3, rounds=np.int32([10**9]))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Had it gone on, the call would hold one of the three places of --grpc_max_threads=4 for hours, as would these.
    for _ in range(5):
        with pytest.raises(grpc.RpcError):
            server.predict("half", signature="slow", timeout_s=0.1, rounds=np.int32([10**9]))
    wait_for(lambda: server.predict_message("half", x=np.float32([1])).code() is grpc.StatusCode.OK)
    assert time.monotonic() - started_s < 30


def test_calls_beyond_the_limit_are_refused_and_the_others_answered(server, wait_for):
    calls = [server.predict_message("half", signature="slow", rounds=np.int32([200_000])) for _ in range(12)]
    wait_for(lambda: all(call.done() for call in calls))
    codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) >= 3
    refused = [call for call in calls if call.code() is not grpc.StatusCode.OK]
    assert refused
    assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {call.details() for call in refused} == {"Server Threadpool Exhausted"}
    assert server.predict("half", x=np.float32([1]))[0] == 1


def test_rest_requests_beyond_the_limit_wait(server):
    body = {"signature_name": "slow", "instances": [20_000]}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.rest("POST", "/v1/models/half:predict", body), range(8)))
    assert answers == [(200, {"predictions": [20_000]})] * 8


def test_a_tensor_of_many_megabytes(server):
    data = np.array([b"x" * 20_000_000], object)
    assert server.predict("half", signature="length", data=data)[1]["length"].tolist() == [20_000_000]


def test_metadata_is_what_the_model_file_says(server, saved_model):
    saved = (saved_model / "1" / "saved_model.pb").read_bytes()
    status, document = server.rest("GET", "/v1/models/half/metadata")
    names = document["metadata"]["signature_def"]["signature_def"].keys()
    assert status == 200
    assert all(name.encode() in saved for name in names)
    assert {"serving_default", "convolve", "length", "slow", "count"} <= names


def test_the_port_of_a_running_server_is_reported_as_in_use(server, start_server, saved_model, wait_for):
    for flag, port in (("port", server.grpc_port), ("rest_api_port", server.rest_port)):
        second = start_server(f"--model_base_path={saved_model}", f"--{flag}={port}")
        assert wait_for(lambda second=second: second.process.poll() is not None)
        assert second.process.returncode == 255
        assert f"port {port} (--{flag}) cannot be used: Address already in use" in second.log.read_text()


@pytest.mark.usefixtures("server")
def test_a_unix_socket(socket_path):
    with grpc.insecure_channel(f"unix:{socket_path}") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
