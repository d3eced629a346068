"""The client with a gRPC server in this process that responds as each test needs."""

import contextlib
import dataclasses
import itertools
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
from gateway.model_client.retry_policy import RETRIED_ROWS_PER_S
from gateway.model_client.tfserving import DETAILS, ERRORS, TensorFlowServing
from tests.support.raw_server import RawServer, answer
from tests.support.waiting import LONG_S, SOON_S, ends_soon, until
from tfs_api.output_tensors import to_typed_tensor_proto
from tfs_api.protos import get_model_metadata_pb2, get_model_status_pb2, predict_pb2, types_pb2
from tfs_api.services import model_service_pb2_grpc, prediction_service_pb2_grpc
from tfs_api.tensors import from_tensor_proto, to_tensor_proto
from tools import ports

IMAGE = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
SCORES = np.array([[0.25, 0.75]], np.float32)
SIGNATURE = Signature({"image": TensorSpec("uint8", (None, 2, 2, 3))}, {"scores": TensorSpec("float32", (None, 2))})
MAX_RETRIED_ROWS = 40
CALL = Call("pets", 7, "serving_default", SIGNATURE, "scores")


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Responds by a function that the test sets; records the requests and their metadata."""

    def __init__(self) -> None:
        self.answer: Callable[[Any, grpc.ServicerContext], Any] = lambda *_: None
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802  # the name in the service definition
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return self.answer(request, context)

    GetModelMetadata = Predict
    GetModelStatus = Predict


@contextlib.contextmanager
def serving(servicer: Servicer, port: int = 0, *, host: str = "127.0.0.1", max_bytes: int = -1) -> Iterator[int]:
    pool = ThreadPoolExecutor(8)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_bytes)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"{host}:{port}")
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
    """Return a function that creates clients of a port; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(port: int, call_deadline_s: float = 5) -> TensorFlowServing:
            client = TensorFlowServing(
                f"127.0.0.1:{port}", call_deadline_s=call_deadline_s, max_retried_rows=MAX_RETRIED_ROWS
            )
            return stack.enter_context(contextlib.closing(client))

        yield connect


@pytest.fixture
def client(connect: Callable[..., TensorFlowServing], port: int) -> TensorFlowServing:
    return connect(port)


def predict(
    client: TensorFlowServing,
    image: Array = IMAGE,
    *,
    within_s: float = LONG_S,
    request_id: str = "",
    call: Call = CALL,
) -> Array:
    return client.predict(call, {"image": image}, deadline=Deadline.after(within_s), request_id=request_id)


def call_methods(client: TensorFlowServing, within_s: float = LONG_S) -> list[Callable[[], object]]:
    return [
        lambda: predict(client, within_s=within_s),
        lambda: client.version_statuses("pets", deadline=Deadline.after(within_s)),
        lambda: client.signatures("pets", 7, deadline=Deadline.after(within_s)),
    ]


def scores(proto: Any) -> Callable[..., Any]:
    """Return a function for a servicer that responds with these scores."""
    response = predict_pb2.PredictResponse()
    response.outputs["scores"].CopyFrom(proto)
    return lambda *_: response


# Requests and responses


def test_a_prediction_requests_one_output_of_one_version(client: TensorFlowServing, servicer: Servicer):
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


def test_the_confidence_is_requested_with_the_scores_and_appended_to_them(
    client: TensorFlowServing, servicer: Servicer
):
    confidence = np.array([0.4], np.float32)
    reply = predict_pb2.PredictResponse()
    reply.outputs["scores"].CopyFrom(to_tensor_proto(SCORES))
    reply.outputs["certainty"].CopyFrom(to_tensor_proto(confidence))
    servicer.answer = lambda *_: reply
    call = dataclasses.replace(CALL, confidence="certainty")

    rows = client.predict(call, {"image": IMAGE}, deadline=Deadline.after(LONG_S))

    assert list(servicer.requests[0].output_filter) == ["scores", "certainty"]
    np.testing.assert_array_equal(rows, np.column_stack([SCORES, confidence]))


def test_an_empty_request_id_is_not_sent(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = scores(to_tensor_proto(SCORES))
    predict(client)

    assert "x-request-id" not in servicer.metadata[0]


@pytest.mark.parametrize("encode", [to_tensor_proto, to_typed_tensor_proto])
def test_both_encodings_of_tensors_are_read(
    client: TensorFlowServing, servicer: Servicer, encode: Callable[[Array], Any]
):
    servicer.answer = scores(encode(SCORES))
    answer = predict(client)

    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, SCORES)


def test_large_messages_pass_in_both_directions(client: TensorFlowServing, servicer: Servicer):
    large = np.zeros((1, 1500, 1500, 3), np.uint8)
    anything = Signature({"image": TensorSpec("uint8", None)}, {})
    servicer.answer = scores(to_tensor_proto(np.zeros((1, 2_000_000), np.float32)))
    answer = predict(client, large, call=Call("pets", 7, "serving_default", anything, "scores"))

    assert answer.shape == (1, 2_000_000)


def test_versions_are_read_with_their_states_and_messages(client: TensorFlowServing, servicer: Servicer):
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, message in ((3, "END", "no such file"), (2, "AVAILABLE", ""), (1, "UNLOADING", "")):
        item = response.model_version_status.add(version=number, state=item_state(state))
        item.status.error_message = message
    servicer.answer = lambda *_: response

    assert client.version_statuses("pets", deadline=Deadline.after(LONG_S)) == [
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

    signatures = client.signatures("pets", 7, deadline=Deadline.after(LONG_S))
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


# Requests that are not sent


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
    ids=["none", "wrong name", "one too many", "element type", "no batch", "channels", "flat", "rank", "bytes"],
)
def test_inputs_that_do_not_fit_the_signature_are_not_sent(
    client: TensorFlowServing, servicer: Servicer, inputs: dict[str, Array]
):
    with pytest.raises(ModelContractError, match="of pets takes"):
        client.predict(CALL, inputs, deadline=Deadline.after(LONG_S))
    assert servicer.requests == []


def test_nothing_is_sent_after_the_deadline(client: TensorFlowServing, servicer: Servicer):
    for call in call_methods(client, within_s=0):
        with pytest.raises(DeadlineExceededError):
            call()
    assert servicer.requests == []


# Failures


def test_every_status_code_has_an_error_and_every_error_a_message():
    assert set(ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert set(DETAILS) == set(ERRORS.values())


EXPECTED = {
    grpc.StatusCode.UNAVAILABLE: ModelUnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ModelOverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: VersionGoneError,
    grpc.StatusCode.CANCELLED: ModelUnavailableError,
}


def test_a_failed_call_becomes_a_gateway_error(client: TensorFlowServing, servicer: Servicer):
    for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
        expected: type[GatewayError] = EXPECTED.get(code, ModelFailedError)
        servicer.answer = lambda _, context, code=code: context.abort(code, "node /secret/dense_1 failed")

        for call in call_methods(client):
            with pytest.raises(expected) as caught:
                call()

            assert type(caught.value) is expected, code
            assert "secret" not in caught.value.detail, code
            assert "secret" in str(caught.value.__cause__), code


@pytest.mark.parametrize(
    "message",
    [
        "Could not find variable bn/moving_mean. This could mean that the variable has been deleted.",
        "Error while reading resource variable dense/bias from Container: localhost.",
        "Attempting to use uninitialized value w",
    ],
)
def test_variables_without_values_are_named_with_what_mends_the_model(
    client: TensorFlowServing, servicer: Servicer, message: str
):
    servicer.answer = lambda _, context: context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)

    with pytest.raises(
        ModelFailedError, match=r"saved by tf\.saved_model\.save from Keras 3.* Export it again"
    ) as caught:
        predict(client)

    assert caught.value.detail.startswith(f"{CALL.model} version {CALL.version}: ")
    assert caught.value.detail.endswith(" describe SAVEDMODEL --card CARD.json --pictures IMAGES")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("broken", ["no output", "another output", "no tensor"])
def test_a_response_without_the_requested_output_is_a_failure(
    client: TensorFlowServing, servicer: Servicer, broken: str
):
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
    assert client.signatures("pets", 7, deadline=Deadline.after(LONG_S)) == {}


# Retries


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


def failing(servicer: Servicer, times: int, code: Any) -> Callable[..., Any]:
    """Return a function for a servicer that fails this many times before it responds."""
    respond = scores(to_tensor_proto(SCORES))

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if len(servicer.requests) <= times:
            context.abort(code, "Server Threadpool Exhausted")
        return respond(request, context)

    return answer


@pytest.mark.parametrize("code", [UNAVAILABLE, RESOURCE_EXHAUSTED], ids=lambda code: code.name)
@pytest.mark.parametrize("times", [1, 3])
def test_calls_to_a_briefly_unavailable_or_full_server_are_retried(
    client: TensorFlowServing, servicer: Servicer, code: Any, times: int
):
    servicer.answer = failing(servicer, times, code)
    np.testing.assert_array_equal(predict(client), SCORES)
    assert len(servicer.requests) == times + 1


def test_a_call_with_a_large_batch_is_retried(client: TensorFlowServing, servicer: Servicer):
    anything = Signature({"image": TensorSpec("uint8", None)}, {})
    servicer.answer = failing(servicer, 1, UNAVAILABLE)
    batch = np.zeros((32, 224, 224, 3), np.uint8)
    predict(client, batch, call=Call("pets", 7, "serving_default", anything, "scores"), within_s=30)

    assert [len(request.inputs["image"].tensor_content) for request in servicer.requests] == [batch.nbytes] * 2


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        (UNAVAILABLE, 8),
        (RESOURCE_EXHAUSTED, 4),
        (DEADLINE_EXCEEDED, 4),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.NOT_FOUND, 1),
    ],
)
def test_retries_are_limited_and_other_errors_are_not_retried(
    client: TensorFlowServing, servicer: Servicer, code: Any, calls: int
):
    servicer.answer = lambda _, context: context.abort(code, "no")
    with pytest.raises(GatewayError):
        predict(client)
    assert len(servicer.requests) == calls


def test_an_unavailable_server_is_reported_although_the_last_attempt_ran_out_of_time(
    client: TensorFlowServing, servicer: Servicer
):
    released = threading.Event()

    def refuse_then_hang(_: Any, context: Any) -> Any:
        if len(servicer.requests) <= 4:  # as many attempts as gRPC itself makes of the first call
            context.abort(UNAVAILABLE, "no")
        released.wait(30)
        context.abort(UNAVAILABLE, "too late")

    servicer.answer = refuse_then_hang
    try:
        with pytest.raises(ModelUnavailableError):
            predict(client, within_s=3)
    finally:
        released.set()

    assert len(servicer.requests) > 4


def test_calls_are_not_retried_while_most_fail(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(RESOURCE_EXHAUSTED, "no")
    for _ in range(30):
        with pytest.raises(ModelOverloadedError):
            predict(client)
    servicer.requests.clear()

    with pytest.raises(ModelOverloadedError):
        predict(client)
    assert len(servicer.requests) == 1


def test_no_attempt_is_made_after_the_deadline(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(UNAVAILABLE, "no")

    with ends_soon(), pytest.raises((ModelUnavailableError, DeadlineExceededError)):
        predict(client, within_s=0.04)
    assert len(servicer.requests) < 4


def test_a_call_that_hangs_is_retried_within_the_deadline(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer
):
    respond, stop = scores(to_tensor_proto(SCORES)), threading.Event()

    def hang_once(request: Any, context: grpc.ServicerContext) -> Any:
        if len(servicer.requests) == 1:
            stop.wait(30)
        return respond(request, context)

    servicer.answer = hang_once
    np.testing.assert_array_equal(predict(connect(port, call_deadline_s=0.3), within_s=30), SCORES)
    stop.set()
    assert len(servicer.requests) == 2


FULL = (
    "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
    "max_enqueued_batches is 2"
)


def test_a_full_queue_of_batches_is_overload_and_not_an_outage(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(UNAVAILABLE, FULL)

    for call in call_methods(client):
        with pytest.raises(ModelOverloadedError):
            call()


def test_retries_do_not_multiply_the_calls_to_a_full_server(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = lambda _, context: context.abort(UNAVAILABLE, FULL)
    for _ in range(100):
        with pytest.raises(ModelOverloadedError):
            predict(client)

    assert len(servicer.requests) <= 100 + 60, "half of the 100 tokens of gRPC's throttle, and calls in flight"


def test_after_failures_only_a_tenth_of_the_calls_that_succeed_is_retried(
    client: TensorFlowServing, servicer: Servicer
):
    servicer.answer = lambda _, context: context.abort(UNAVAILABLE, FULL)
    for _ in range(60):  # uses up what may be retried at once
        with pytest.raises(ModelOverloadedError):
            predict(client)
    servicer.requests.clear()
    respond, turns = scores(to_tensor_proto(SCORES)), itertools.count()

    def refuse_every_other(request: Any, context: grpc.ServicerContext) -> Any:
        return respond(request, context) if next(turns) % 2 else context.abort(UNAVAILABLE, FULL)

    servicer.answer = refuse_every_other
    for _ in range(100):
        with contextlib.suppress(ModelOverloadedError):
            predict(client)

    assert len(servicer.requests) <= 100 * 1.1 + 5


@pytest.mark.parametrize(("rows", "most_retries"), [(1, 40), (32, 2)])
def test_calls_that_were_given_up_are_repeated_only_as_far_as_the_budget_goes(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer, rows: int, most_retries: int
):
    stop = threading.Event()
    servicer.answer = lambda *_: stop.wait(30) and None
    client = connect(port, call_deadline_s=0.02)
    started_s = time.monotonic()
    try:
        for _ in range(40):
            with pytest.raises(DeadlineExceededError):
                predict(client, np.repeat(IMAGE, rows, axis=0), within_s=0.1)
    finally:
        stop.set()

    most_calls = 40 + most_retries + (time.monotonic() - started_s) * RETRIED_ROWS_PER_S / rows + 1
    assert len(servicer.requests) <= most_calls, "without a budget each is called up to four times"


def test_a_call_that_will_not_be_repeated_is_not_given_up_early(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer
):
    client = connect(port, call_deadline_s=0.05)
    respond, stop = scores(to_tensor_proto(SCORES)), threading.Event()
    servicer.answer = lambda *_: stop.wait(30) and None
    try:
        while not client._retry_budget.is_spent:
            with pytest.raises(DeadlineExceededError):
                predict(client, np.repeat(IMAGE, 32, axis=0), within_s=0.2)
    finally:
        stop.set()
    slow = threading.Event()
    servicer.answer = lambda *arguments: (slow.wait(0.3), respond(*arguments))[1]

    np.testing.assert_array_equal(predict(client, within_s=30), SCORES)


# Batches that are larger than the server accepts


def accepting(max_rows: int, message: str) -> Callable[..., Any]:
    """Return a function for a servicer that refuses batches like TensorFlow Serving, and else returns each mean."""

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        images = from_tensor_proto(request.inputs["image"])
        if len(images) > max_rows:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message.format(rows=len(images), max_rows=max_rows))
        means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
        return scores(to_tensor_proto(np.stack([means, means], axis=1)))()

    return answer


def numbered_images(count: int) -> Array:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def batch_sizes(servicer: Servicer) -> list[int]:
    return [request.inputs["image"].tensor_shape.dim[0].size for request in servicer.requests]


TOO_LARGE = "Task size {rows} is larger than maximum input batch size {max_rows}"


def test_a_batch_larger_than_the_server_accepts_is_split(client: TensorFlowServing, servicer: Servicer):
    servicer.answer = accepting(4, TOO_LARGE)

    first = predict(client, numbered_images(10))
    second = predict(client, numbered_images(6))

    assert first[:, 0].tolist() == list(range(10))
    assert second[:, 0].tolist() == list(range(6))
    assert batch_sizes(servicer) == [10, 4, 4, 2, 4, 2], "the limit is learned from one refusal"


@pytest.mark.parametrize("message", ["Task size {rows} is larger than maximum batch size", TOO_LARGE + "0000000000"])
def test_a_batch_is_halved_if_the_server_does_not_say_how_much_it_accepts(
    client: TensorFlowServing, servicer: Servicer, message: str
):
    servicer.answer = accepting(3, message)
    assert predict(client, numbered_images(10))[:, 0].tolist() == list(range(10))
    assert max(batch_sizes(servicer)[-3:]) <= 3


def test_a_batch_of_more_bytes_than_the_server_accepts_is_halved(connect: Callable[..., TensorFlowServing]):
    servicer = Servicer()
    servicer.answer = accepting(1000, TOO_LARGE)
    with serving(servicer, max_bytes=1200) as port:
        client = connect(port)
        images = np.repeat(numbered_images(4), 50, axis=0)

        result = predict(client, images)

        assert result[:, 0].tolist() == np.repeat(range(4), 50).tolist()
        wide = Call("pets", 8, "serving_default", Signature({"image": TensorSpec("uint8", None)}, {}), "scores")
        with pytest.raises(ModelFailedError):
            predict(client, np.zeros((1, 50, 50, 3), np.uint8), call=wide)


def test_another_server_may_accept_more(connect: Callable[..., TensorFlowServing], servicer: Servicer):
    servicer.answer = accepting(4, TOO_LARGE)
    with serving(servicer) as port:
        client = connect(port)
        predict(client, numbered_images(8))
    with pytest.raises(ModelUnavailableError):
        predict(client, numbered_images(8))

    servicer.answer = accepting(8, TOO_LARGE)
    servicer.requests.clear()
    with serving(servicer, port):
        until(lambda: not raises_unavailable(client))

    assert batch_sizes(servicer)[-1] == 8


def raises_unavailable(client: TensorFlowServing) -> bool:
    with contextlib.suppress(ModelUnavailableError):
        predict(client, numbered_images(8))
        return False
    return True


def test_a_server_that_refuses_even_one_image_has_failed(client: TensorFlowServing, servicer: Servicer):
    for max_rows in (0, -1):
        servicer.answer = accepting(max_rows, TOO_LARGE)
        with pytest.raises(ModelFailedError):
            predict(client, numbered_images(9))
    assert len(servicer.requests) < 12


def test_a_batch_of_a_refused_size_ends_at_its_deadline(client: TensorFlowServing, servicer: Servicer):
    refuse, stop = accepting(4, TOO_LARGE), threading.Event()
    servicer.answer = lambda *arguments: stop.wait(LONG_S) if len(servicer.requests) == 3 else refuse(*arguments)
    try:
        with ends_soon(), pytest.raises(DeadlineExceededError):
            predict(client, numbered_images(10), within_s=0.5)
    finally:
        stop.set()
    assert batch_sizes(servicer)[:3] == [10, 4, 4]


# Several servers behind one name


@pytest.fixture
def three() -> Iterator[tuple[TensorFlowServing, list[Servicer]]]:
    """Three servers that respond, and a client of all of them."""
    servicers = [Servicer() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        for servicer in servicers:
            servicer.answer = scores(to_tensor_proto(SCORES))
        ports = [stack.enter_context(serving(servicer)) for servicer in servicers]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        client = TensorFlowServing(target, call_deadline_s=1, max_retried_rows=MAX_RETRIED_ROWS)
        stack.enter_context(contextlib.closing(client))
        until(lambda: predict(client).any() and all(servicer.requests for servicer in servicers), within_s=20)
        yield client, servicers


def test_calls_are_spread_evenly_over_the_servers(three: tuple[TensorFlowServing, list[Servicer]]):
    client, servicers = three
    before = [len(servicer.requests) for servicer in servicers]
    for _ in range(30):
        predict(client)
    shares = [len(servicer.requests) - count for servicer, count in zip(servicers, before, strict=True)]

    assert shares == [10, 10, 10]


def test_a_call_that_fails_on_one_server_succeeds_on_another(three: tuple[TensorFlowServing, list[Servicer]]):
    client, servicers = three
    servicers[1].answer = lambda _, context: context.abort(UNAVAILABLE, "stopping")
    for _ in range(60):
        np.testing.assert_array_equal(predict(client), SCORES)


def test_a_hanging_server_is_ejected_without_failed_requests_until_it_responds(
    three: tuple[TensorFlowServing, list[Servicer]],
):
    client, servicers = three
    respond, resumed = servicers[0].answer, threading.Event()
    servicers[0].answer = lambda *arguments: (resumed.wait(60), respond(*arguments))[1]
    hanging_requests = servicers[0].requests

    def is_ejected() -> bool:
        """Send many requests and return whether the hanging server received none of them."""
        before = len(hanging_requests)
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda _: predict(client, within_s=60), range(100)):
                np.testing.assert_array_equal(answer, SCORES)
        return len(hanging_requests) == before

    until(is_ejected, within_s=60, what="the hanging server ejected")
    resumed.set()
    servicers[0].answer = respond
    until(lambda: not is_ejected(), within_s=60, what="the server in use again")


# Deadlines and reconnection


@pytest.fixture
def closed_port() -> int:
    return ports.find(1)[0]


def test_a_closed_port_is_reported_at_once(connect: Callable[..., TensorFlowServing], closed_port: int):
    client = connect(closed_port, call_deadline_s=LONG_S)
    for call in call_methods(client, within_s=LONG_S):
        with ends_soon(), pytest.raises(ModelUnavailableError):
            call()


@pytest.mark.parametrize("status", ["400 Bad Request", "501 Not Implemented"])
def test_the_rest_port_is_recognised(connect: Callable[..., TensorFlowServing], status: str):
    with RawServer(answer(b"{}", status=status)) as rest, pytest.raises(ModelUnavailableError, match="REST port"):
        connect(rest.port).version_statuses("pets", deadline=Deadline.after(LONG_S))


def test_another_grpc_server_is_recognised(connect: Callable[..., TensorFlowServing]):
    with ThreadPoolExecutor(1) as pool:
        other = grpc.server(pool)
        port = other.add_insecure_port("127.0.0.1:0")
        other.start()
        try:
            with pytest.raises(ModelFailedError, match="not as TensorFlow Serving"):
                connect(port).version_statuses("pets", deadline=Deadline.after(LONG_S))
        finally:
            other.stop(None).wait()


def test_a_name_that_cannot_be_resolved_is_said():
    server = TensorFlowServing("models..example:8500", call_deadline_s=5, max_retried_rows=MAX_RETRIED_ROWS)
    with contextlib.closing(server), pytest.raises(ModelUnavailableError, match="cannot be resolved"):
        server.version_statuses("pets", deadline=Deadline.after(LONG_S))


def test_an_ipv6_address_is_reached(servicer: Servicer):
    servicer.answer = lambda *_: get_model_status_pb2.GetModelStatusResponse()
    try:
        with serving(servicer, host="[::1]") as port:
            server = TensorFlowServing(f"[::1]:{port}", call_deadline_s=5, max_retried_rows=MAX_RETRIED_ROWS)
            with contextlib.closing(server):
                assert server.version_statuses("pets", deadline=Deadline.after(LONG_S)) == []
    except RuntimeError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


def test_a_port_that_never_responds_is_given_up_at_the_deadline(connect: Callable[..., TensorFlowServing]):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for method in range(3):
            client = connect(silent.getsockname()[1], call_deadline_s=LONG_S)
            with ends_soon(), pytest.raises(DeadlineExceededError):
                call_methods(client, within_s=0.2)[method]()


def test_the_client_waits_for_a_server_that_is_slow_to_connect(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer
):
    servicer.answer = scores(to_tensor_proto(SCORES))
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        threading.Thread(target=forward, args=(slow, port, 0.4), daemon=True).start()
        np.testing.assert_array_equal(predict(connect(slow.getsockname()[1])), SCORES)


def forward(listener: socket.socket, port: int, delay_s: float) -> None:
    """Accept one connection and, after a delay, forward everything to a port."""
    near, _ = listener.accept()
    threading.Event().wait(delay_s)
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


@pytest.mark.parametrize(("request_s", "call_s"), [(0.2, LONG_S), (LONG_S, 0.2)])
def test_a_slow_response_is_given_up_at_the_earlier_deadline(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer, request_s: float, call_s: float
):
    stop = threading.Event()
    servicer.answer = lambda *_: stop.wait(LONG_S) and None
    for call in call_methods(connect(port, call_deadline_s=call_s), within_s=request_s):
        with ends_soon(), pytest.raises(DeadlineExceededError):
            call()
    stop.set()


@pytest.mark.parametrize(("other_calls", "error"), [(1, ModelOverloadedError), (0, DeadlineExceededError)])
def test_a_late_status_is_overload_if_the_server_answers_other_calls_meanwhile(
    client: TensorFlowServing, servicer: Servicer, other_calls: int, error: type[GatewayError]
):
    respond, stop = scores(to_tensor_proto(SCORES)), threading.Event()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        is_status = isinstance(request, get_model_status_pb2.GetModelStatusRequest)
        return stop.wait(30) and None if is_status else respond(request, context)

    servicer.answer = answer
    predict(client)
    with ThreadPoolExecutor(1) as pool:
        try:
            status = pool.submit(client.version_statuses, "pets", deadline=Deadline.after(1))
            until(lambda: len(servicer.requests) == 2)
            for _ in range(other_calls):
                predict(client)

            with pytest.raises(error):
                status.result(20)
        finally:
            stop.set()


def test_a_server_that_returns_is_soon_used(connect: Callable[..., TensorFlowServing], servicer: Servicer):
    """By default, the pauses between attempts to connect grow: twelve would take minutes."""
    servicer.answer = scores(to_tensor_proto(SCORES))
    with serving(servicer) as port:
        client = connect(port)
        predict(client)

    def is_unavailable() -> bool:
        with contextlib.suppress(ModelUnavailableError):
            predict(client)
            return False
        return True

    with RawServer(lambda *_: None, port=port) as broken:
        until(lambda: is_unavailable() and len(broken.requests) >= 12, what="twelve attempts to connect")
    with serving(servicer, port):
        until(lambda: not is_unavailable(), within_s=SOON_S)


def test_a_server_that_starts_late_is_used(
    connect: Callable[..., TensorFlowServing], servicer: Servicer, closed_port: int
):
    client = connect(closed_port)
    with pytest.raises(ModelUnavailableError):
        predict(client)
    servicer.answer = scores(to_tensor_proto(SCORES))

    def is_available() -> bool:
        with contextlib.suppress(ModelUnavailableError):
            return bool(predict(client).any())
        return False

    with serving(servicer, closed_port):
        until(is_available, within_s=SOON_S)


def test_proxies_from_the_environment_are_ignored(
    connect: Callable[..., TensorFlowServing], port: int, servicer: Servicer, monkeypatch: pytest.MonkeyPatch
):
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    servicer.answer = scores(to_tensor_proto(SCORES))

    np.testing.assert_array_equal(predict(connect(port)), SCORES)
