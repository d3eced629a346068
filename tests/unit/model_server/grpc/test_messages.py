"""Sizes of messages over a real channel."""

import grpc
import numpy as np
import pytest

from model_server.dataplane import DataPlane
from model_server.grpc.services import GrpcOptions, create_server
from model_server.monitoring import Metrics
from tfs_api.protos import classification_pb2, predict_pb2, types_pb2
from tfs_api.tensors import to_tensor_proto

LIMIT = 100_000
METHOD = "/tensorflow.serving.PredictionService/"


@pytest.fixture
def channel(models, tmp_path):
    options = GrpcOptions(addresses=[f"unix:{tmp_path}/grpc"], threads=4, max_request_bytes=LIMIT)
    server = create_server(DataPlane(models), options, Metrics())
    server.start()
    with grpc.insecure_channel(options.addresses[0]) as channel:
        yield channel
    server.stop(None).wait()


def predict(channel, message, **arguments):
    """Send a message and return the code and the details of the answer; OK and the response without an error."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    try:
        return grpc.StatusCode.OK, channel.unary_unary(f"{METHOD}Predict")(data, timeout=30, **arguments)
    except grpc.RpcError as error:
        return error.code(), error.details()


def request(array):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "half"
    message.inputs["x"].CopyFrom(to_tensor_proto(array))
    return message


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_a_compressed_message_is_answered(channel, compression):
    code, answer = predict(channel, request(np.float32([1, 2])), compression=compression)

    assert code is grpc.StatusCode.OK
    assert predict_pb2.PredictResponse.FromString(answer).outputs["y"].float_val == [2, 4]


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_a_message_larger_than_the_limit_is_refused_however_it_is_compressed(channel, compression):
    code, details = predict(channel, request(np.zeros(LIMIT, np.uint8)), compression=compression)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in details


@pytest.mark.parametrize("data", [b"\x1f\x8b" + bytes(99), b"\x78\x9c" + bytes(99)], ids=["gzip", "zlib"])
def test_invalid_compressed_data_is_refused(channel, data):
    assert predict(channel, data)[0] is grpc.StatusCode.INTERNAL


def one_value(data_type, *shape, **fields):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "half"
    tensor = message.inputs["x"]
    tensor.dtype = types_pb2.DataType.Value(data_type)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        getattr(tensor, name).append(value)
    return message


def test_one_value_may_stand_for_a_small_tensor(channel):
    code, answer = predict(channel, one_value("DT_FLOAT", 3, float_val=1.0))

    assert code is grpc.StatusCode.OK
    assert predict_pb2.PredictResponse.FromString(answer).outputs["y"].float_val == [2, 2, 2]


@pytest.mark.parametrize(
    "message",
    [
        one_value("DT_UINT8", 2_700_000, 28, 28, 1),
        one_value("DT_UINT8", LIMIT + 1),
        one_value("DT_FLOAT", LIMIT // 4 + 1, float_val=1.0),
        one_value("DT_INT8", LIMIT + 1, int_val=1),
        one_value("DT_COMPLEX128", LIMIT // 16 + 1),
        one_value("DT_STRING", LIMIT // 8, string_val=b"x"),
        one_value("DT_FLOAT", 0, LIMIT),
        one_value("DT_BFLOAT16", LIMIT),
        one_value("DT_HALF", LIMIT, half_val=1),
    ],
)
def test_a_tensor_is_weighed_before_it_is_decoded(channel, models, message):
    code, details = predict(channel, message)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "The tensors of this request take" in details
    assert not models.servable.calls


def test_the_tensors_of_a_request_are_weighed_together(channel):
    message = one_value("DT_UINT8", LIMIT // 2)
    for number in range(3):
        message.inputs[str(number)].CopyFrom(message.inputs["x"])

    assert predict(channel, message)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "shape", [(2**62, 4), (2**40, 2**40), (-1, 2**62), (1,) * 300, (2**63 - 1, 2**63 - 1, 0), (10**12,)]
)
def test_an_impossible_shape_is_invalid(channel, shape):
    assert predict(channel, one_value("DT_FLOAT", *shape)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "tensor parsing error: x",
    )


def test_a_context_counts_once_for_each_example(channel):
    message = classification_pb2.ClassificationRequest()
    message.model_spec.name = "half"
    source = message.input.example_list_with_context
    source.context.features.feature["x"].bytes_list.value.append(bytes(LIMIT // 10))
    for _ in range(10):
        source.examples.add()

    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(f"{METHOD}Classify")(message.SerializeToString(), timeout=30)

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "The context, once for each example, takes" in failure.value.details()


def test_a_long_error_message_is_cut_off(channel):
    message = request(np.float32([1]))
    message.model_spec.name = "long" * 2000

    code, details = predict(channel, message)

    assert code is grpc.StatusCode.NOT_FOUND
    assert details.endswith("...TRUNCATED")
    assert len(details) == 1024 + len("...TRUNCATED")
