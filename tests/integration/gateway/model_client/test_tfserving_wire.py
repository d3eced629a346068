"""The client against a gRPC server in this process that answers whatever the test wants."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelOverloadedError,
    ModelUnavailableError,
    VersionGoneError,
)
from gateway.model_client.protocol import Array, Call, Signature, TensorSpec, VersionStatus
from gateway.model_client.tfserving import DETAILS, ERRORS, TensorFlowServing
from tests.support.waiting import until
from tfs_api.output_tensors import to_typed_tensor_proto
from tfs_api.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from tfs_api.tensors import to_tensor_proto

IMAGE = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
SCORES = np.array([[0.25, 0.75]], np.float32)
SIGNATURE = Signature({"image": TensorSpec("uint8", (None, 2, 2, 3))}, {"scores": TensorSpec("float32", (None, 2))})
CALL = Call("pets", 7, "serving_default", SIGNATURE, "scores")


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers by a function that the test sets; keeps the requests and their metadata."""

    def __init__(self) -> None:
        self.answer: Callable[[Any, grpc.ServicerContext], Any] = lambda *_: None
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802  # the service's own name
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return self.answer(request, context)

    GetModelMetadata = Predict
    GetModelStatus = Predict


@contextlib.contextmanager
def serving(servicer: Servicer, port: int = 0) -> Iterator[int]:
    pool = ThreadPoolExecutor(8)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()
        pool.shutdown()


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
def port(servicer: Servicer) -> Iterator[int]:
    with serving(servicer) as port:
        yield port


@pytest.fixture
def connect() -> Iterator[Callable[..., TensorFlowServing]]:
    """Make clients of a port; they are closed with the test."""
    with contextlib.ExitStack() as stack:

        def connect(port: int, call_deadline_s: float = 5) -> TensorFlowServing:
            client = TensorFlowServing(f"127.0.0.1:{port}", call_deadline_s=call_deadline_s)
            return stack.enter_context(contextlib.closing(client))

        yield connect


@pytest.fixture
def client(connect: Callable[..., TensorFlowServing], port: int) -> TensorFlowServing:
    return connect(port)


def predict(
    client: TensorFlowServing, image: Array = IMAGE, *, within_s: float = 5, request_id: str = "", call: Call = CALL
) -> Array:
    return client.predict(call, {"image": image}, deadline=Deadline.after(within_s), request_id=request_id)


def every_method(client: TensorFlowServing, within_s: float = 5) -> list[Callable[[], object]]:
    return [
        lambda: predict(client, within_s=within_s),
        lambda: client.version_statuses("pets", deadline=Deadline.after(within_s)),
        lambda: client.signatures("pets", 7, deadline=Deadline.after(within_s)),
    ]


def scores(proto: Any) -> Callable[..., Any]:
    """Make a servicer's function that answers these scores."""
    response = predict_pb2.PredictResponse()
    response.outputs["scores"].CopyFrom(proto)
    return lambda *_: response


# What is sent and read


def test_a_prediction_asks_for_one_output_of_one_version(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = scores(to_tensor_proto(SCORES))
    np.testing.assert_array_equal(predict(client, request_id="trace-9"), SCORES)
    (request,) = servicer.requests
    assert (request.model_spec.name, request.model_spec.version.value) == ("pets", 7)
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == ["scores"]
    assert list(request.inputs) == ["image"]
    assert request.inputs["image"].dtype == types_pb2.DT_UINT8
    assert request.inputs["image"].tensor_content == IMAGE.tobytes()
    assert servicer.metadata[0]["x-request-id"] == "trace-9"


def test_no_request_id_is_sent_where_there_is_none(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = scores(to_tensor_proto(SCORES))
    predict(client)
    assert "x-request-id" not in servicer.metadata[0]


@pytest.mark.parametrize("encode", [to_tensor_proto, to_typed_tensor_proto])
def test_answers_are_read_from_either_encoding(
    client: TensorFlowServing, servicer: Servicer, encode: Callable[[Array], Any]
):
    servicer.answer = scores(encode(SCORES))
    answer = predict(client)
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, SCORES)


def test_messages_of_many_megabytes_pass_both_ways(client: TensorFlowServing, servicer: Servicer):
    large = np.zeros((1, 1500, 1500, 3), np.uint8)
    anything = Signature({"image": TensorSpec("uint8", None)}, {})
    servicer.answer = scores(to_tensor_proto(np.zeros((1, 2_000_000), np.float32)))
    answer = predict(client, large, call=Call("pets", 7, "serving_default", anything, "scores"))
    assert answer.shape == (1, 2_000_000)


def test_versions_are_read_with_their_states_and_faults(client: TensorFlowServing, servicer: Servicer):
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, message in ((3, "END", "no such file"), (2, "AVAILABLE", ""), (1, "UNLOADING", "")):
        item = response.model_version_status.add(version=number, state=item_state(state))
        item.status.error_message = message
    servicer.answer = lambda *_: response
    assert client.version_statuses("pets", deadline=Deadline.after(5)) == [
        VersionStatus(3, "END", "no such file"),
        VersionStatus(2, "AVAILABLE"),
        VersionStatus(1, "UNLOADING"),
    ]
    assert servicer.requests[0].model_spec.name == "pets"


def item_state(name: str) -> int:
    return get_model_status_pb2.ModelVersionStatus.State.Value(name)


def test_signatures_are_read_with_element_types_and_shapes(client: TensorFlowServing, servicer: Servicer):
    packed = get_model_metadata_pb2.SignatureDefMap()
    definition = packed.signature_def["serving_default"]
    definition.inputs["image"].dtype = types_pb2.DT_UINT8
    for size in (-1, 28, 28, 1):
        definition.inputs["image"].tensor_shape.dim.add(size=size)
    definition.inputs["any"].dtype = types_pb2.DT_STRING
    definition.inputs["any"].tensor_shape.unknown_rank = True
    for name, data_type in (("f", "FLOAT"), ("d", "DOUBLE"), ("h", "HALF"), ("b", "BFLOAT16"), ("i", "INT64")):
        definition.outputs[name].dtype = types_pb2.DataType.Value(f"DT_{data_type}")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(packed)
    servicer.answer = lambda *_: response

    signatures = client.signatures("pets", 7, deadline=Deadline.after(5))
    assert list(signatures) == ["serving_default"]
    assert signatures["serving_default"].inputs == {
        "image": TensorSpec("uint8", (None, 28, 28, 1)),
        "any": TensorSpec("string", None),
    }
    outputs = {name: spec.dtype for name, spec in signatures["serving_default"].outputs.items()}
    assert outputs == {"f": "float32", "d": "float64", "h": "float16", "b": "bfloat16", "i": "int64"}
    assert signatures["serving_default"].outputs["f"].shape == ()
    (request,) = servicer.requests
    assert (request.model_spec.name, request.model_spec.version.value) == ("pets", 7)
    assert list(request.metadata_field) == ["signature_def"]


# What is not sent


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"picture": IMAGE},
        {"image": IMAGE, "other": IMAGE},
        {"image": IMAGE.astype(np.float32)},
        {"image": IMAGE[0]},
        {"image": IMAGE[:, :, :, :1]},
        {"image": IMAGE.reshape(1, -1)},
        {"image": IMAGE[None]},
        {"image": np.array([b"bytes"], object)},
    ],
    ids=["none", "name", "one more", "element type", "no batch", "channels", "flat", "rank", "bytes"],
)
def test_a_tensor_that_the_signature_does_not_take_is_not_sent(
    client: TensorFlowServing, servicer: Servicer, inputs: dict[str, Array]
):
    with pytest.raises(ModelContractError, match="of pets takes"):
        client.predict(CALL, inputs, deadline=Deadline.after(5))
    assert servicer.requests == []


def test_nothing_is_sent_after_the_deadline(client: TensorFlowServing, servicer: Servicer):
    for ask in every_method(client, within_s=0):
        with pytest.raises(DeadlineExceededError):
            ask()
    assert servicer.requests == []


# Failures


def test_every_status_code_and_every_error_is_known():
    assert set(ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert set(DETAILS) == set(ERRORS.values())


EXPECTED = {
    grpc.StatusCode.UNAVAILABLE: ModelUnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ModelOverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: VersionGoneError,
    grpc.StatusCode.CANCELLED: ModelUnavailableError,
}


@pytest.mark.parametrize("code", sorted(set(grpc.StatusCode) - {grpc.StatusCode.OK}, key=str), ids=lambda c: c.name)
def test_a_failure_on_the_wire_becomes_one_of_ours(client: TensorFlowServing, servicer: Servicer, code: Any):
    servicer.answer = lambda _, context: context.abort(code, "node /secret/dense_1 failed")
    expected: type[GatewayError] = EXPECTED.get(code, ModelFailedError)
    for ask in every_method(client):
        with pytest.raises(expected) as caught:
            ask()
        assert type(caught.value) is expected
        assert "secret" not in caught.value.detail
        assert "secret" in str(caught.value.__cause__)


@pytest.mark.parametrize("broken", ["no output", "another output", "no tensor"])
def test_an_answer_without_what_was_asked_for_is_a_failure(client: TensorFlowServing, servicer: Servicer, broken: str):
    response = predict_pb2.PredictResponse()
    if broken == "another output":
        response.outputs["other"].CopyFrom(to_tensor_proto(SCORES))
    if broken == "no tensor":
        response.outputs["scores"].CopyFrom(to_tensor_proto(SCORES))
        response.outputs["scores"].tensor_content = b"short"
    servicer.answer = lambda *_: response
    with pytest.raises(ModelFailedError):
        predict(client)


def test_a_version_without_signatures_has_none(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda *_: get_model_metadata_pb2.GetModelMetadataResponse()
    assert client.signatures("pets", 7, deadline=Deadline.after(5)) == {}


# Retries


AWAY = grpc.StatusCode.UNAVAILABLE
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
LATE = grpc.StatusCode.DEADLINE_EXCEEDED


def failing(servicer: Servicer, times: int, code: Any) -> Callable[..., Any]:
    """Make a servicer's function that fails so many times before it answers."""
    good = scores(to_tensor_proto(SCORES))

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if len(servicer.requests) <= times:
            context.abort(code, "Server Threadpool Exhausted")
        return good(request, context)

    return answer


@pytest.mark.parametrize("code", [AWAY, FULL], ids=lambda code: code.name)
@pytest.mark.parametrize("times", [1, 3])
def test_a_server_that_is_away_or_full_for_a_moment_is_asked_again(
    client: TensorFlowServing, servicer: Servicer, code: Any, times: int
):
    servicer.answer = failing(servicer, times, code)
    np.testing.assert_array_equal(predict(client), SCORES)
    assert len(servicer.requests) == times + 1


def test_a_batch_is_sent_again_too(client: TensorFlowServing, servicer: Servicer):
    anything = Signature({"image": TensorSpec("uint8", None)}, {})
    servicer.answer = failing(servicer, 1, AWAY)
    batch = np.zeros((32, 224, 224, 3), np.uint8)
    predict(client, batch, call=Call("pets", 7, "serving_default", anything, "scores"), within_s=30)
    assert [len(request.inputs["image"].tensor_content) for request in servicer.requests] == [batch.nbytes] * 2


@pytest.mark.parametrize(
    ("code", "calls"), [(AWAY, 8), (FULL, 4), (LATE, 4), (grpc.StatusCode.INTERNAL, 1), (grpc.StatusCode.NOT_FOUND, 1)]
)
def test_tries_come_to_an_end_and_what_another_try_cannot_help_has_one(
    client: TensorFlowServing, servicer: Servicer, code: Any, calls: int
):
    servicer.answer = lambda _, context: context.abort(code, "no")
    with pytest.raises(GatewayError):
        predict(client)
    assert len(servicer.requests) == calls


@pytest.mark.parametrize("within_s", [0.5, 0.6, 0.7])
def test_a_server_that_is_away_is_told_as_away_though_the_last_try_ran_out_of_time(
    client: TensorFlowServing, servicer: Servicer, within_s: float
):
    servicer.answer = lambda _, context: context.abort(AWAY, "no")
    with pytest.raises(ModelUnavailableError):
        predict(client, within_s=within_s)


def test_while_most_calls_fail_none_is_repeated(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(FULL, "no")
    for _ in range(30):
        with pytest.raises(ModelOverloadedError):
            predict(client)
    servicer.requests.clear()
    with pytest.raises(ModelOverloadedError):
        predict(client)
    assert len(servicer.requests) == 1


def test_no_try_is_made_beyond_the_deadline(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(AWAY, "no")
    started = time.monotonic()
    with pytest.raises((ModelUnavailableError, DeadlineExceededError)):
        predict(client, within_s=0.04)
    assert time.monotonic() - started < 1
    assert len(servicer.requests) < 4


def test_a_call_that_took_too_long_is_made_once_more_while_the_request_has_time(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer
):
    good, ended = scores(to_tensor_proto(SCORES)), threading.Event()

    def first_hangs(request: Any, context: grpc.ServicerContext) -> Any:
        if len(servicer.requests) == 1:
            ended.wait(30)
        return good(request, context)

    servicer.answer = first_hangs
    np.testing.assert_array_equal(predict(connect(port, call_deadline_s=0.3), within_s=30), SCORES)
    ended.set()
    assert len(servicer.requests) == 2


# Several servers behind one name


@pytest.fixture
def three() -> Iterator[tuple[TensorFlowServing, list[Servicer]]]:
    """Have three servers that answer, and a client of all of them."""
    servicers = [Servicer() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        for servicer in servicers:
            servicer.answer = scores(to_tensor_proto(SCORES))
        ports = [stack.enter_context(serving(servicer)) for servicer in servicers]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        client = stack.enter_context(contextlib.closing(TensorFlowServing(target, call_deadline_s=1)))
        until(lambda: predict(client).any() and all(servicer.requests for servicer in servicers), within_s=20)
        yield client, servicers


def test_every_server_gets_its_share(three: tuple[TensorFlowServing, list[Servicer]]):
    client, servicers = three
    before = [len(servicer.requests) for servicer in servicers]
    for _ in range(30):
        predict(client)
    shares = [len(servicer.requests) - count for servicer, count in zip(servicers, before, strict=True)]
    assert shares == [10, 10, 10]


def test_what_one_server_fails_another_answers(three: tuple[TensorFlowServing, list[Servicer]]):
    client, servicers = three
    servicers[1].answer = lambda _, context: context.abort(AWAY, "stopping")
    for _ in range(60):
        np.testing.assert_array_equal(predict(client), SCORES)


def test_a_server_that_hangs_costs_no_request_and_is_left_out_until_it_answers(
    three: tuple[TensorFlowServing, list[Servicer]],
):
    client, servicers = three
    good, thawed = servicers[0].answer, threading.Event()
    servicers[0].answer = lambda *asked: (thawed.wait(60), good(*asked))[1]
    stuck = servicers[0].requests

    def left_out() -> bool:
        """Ask for a while at a time; tell whether the server that hangs got nothing of it."""
        before = len(stuck)
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda _: predict(client, within_s=60), range(100)):
                np.testing.assert_array_equal(answer, SCORES)
        return len(stuck) == before

    until(left_out, within_s=60, what="the server that hangs left out")
    thawed.set()
    servicers[0].answer = good
    until(lambda: not left_out(), within_s=60, what="back in use")


# Time


def assert_quick(ask: Callable[[], object], error: type[GatewayError], within_s: float) -> None:
    started = time.monotonic()
    with pytest.raises(error):
        ask()
    assert time.monotonic() - started < within_s


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nothing_listening_is_told_at_once(connect: Callable[..., TensorFlowServing], closed_port: int):
    client = connect(closed_port)
    for ask in every_method(client):
        assert_quick(ask, ModelUnavailableError, within_s=1)


def test_a_port_that_takes_connections_and_never_answers_is_given_up(connect: Callable[..., TensorFlowServing]):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for method in range(3):
            client = connect(silent.getsockname()[1])
            assert_quick(every_method(client, within_s=0.2)[method], DeadlineExceededError, within_s=1)


def test_a_server_too_busy_to_take_a_connection_at_once_is_waited_for(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer
):
    servicer.answer = scores(to_tensor_proto(SCORES))
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        threading.Thread(target=pass_on, args=(slow, port, 0.4), daemon=True).start()
        np.testing.assert_array_equal(predict(connect(slow.getsockname()[1])), SCORES)


def pass_on(listener: socket.socket, port: int, after_s: float) -> None:
    """Take one connection, and after a while pass everything on to a port."""
    near, _ = listener.accept()
    threading.Event().wait(after_s)
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)
        back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(("request_s", "call_s"), [(0.2, 5), (5, 0.2)])
def test_a_slow_answer_is_given_up_at_the_earlier_deadline(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer, request_s: float, call_s: float
):
    ended = threading.Event()
    servicer.answer = lambda *_: ended.wait(5) and None
    for ask in every_method(connect(port, call_deadline_s=call_s), within_s=request_s):
        assert_quick(ask, DeadlineExceededError, within_s=2)
    ended.set()


def test_a_server_that_comes_back_is_found_within_two_seconds(
    connect: Callable[..., TensorFlowServing], servicer: Servicer
):
    servicer.answer = scores(to_tensor_proto(SCORES))
    with serving(servicer) as port:
        client = connect(port)
        predict(client)

    def away() -> bool:
        with contextlib.suppress(ModelUnavailableError):
            predict(client)
            return False
        return True

    absent_until_s = time.monotonic() + 2  # long enough for the pauses between attempts to have grown
    until(lambda: away() and time.monotonic() > absent_until_s, within_s=10)
    with serving(servicer, port):
        until(lambda: not away(), within_s=2)


def test_a_server_that_comes_late_is_found(
    connect: Callable[..., TensorFlowServing], servicer: Servicer, closed_port: int
):
    client = connect(closed_port)
    with pytest.raises(ModelUnavailableError):
        predict(client)
    servicer.answer = scores(to_tensor_proto(SCORES))

    def answers() -> bool:
        with contextlib.suppress(ModelUnavailableError):
            return bool(predict(client).any())
        return False

    with serving(servicer, closed_port):
        until(answers, within_s=2)


def test_proxies_of_the_environment_are_not_used(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer, monkeypatch: pytest.MonkeyPatch
):
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    servicer.answer = scores(to_tensor_proto(SCORES))
    np.testing.assert_array_equal(predict(connect(port)), SCORES)
