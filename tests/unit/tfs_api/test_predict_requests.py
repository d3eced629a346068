"""Requests joined from bytes equal the requests that protobuf encodes."""

from collections.abc import Mapping

import numpy as np
import pytest

from tfs_api.protos import predict_pb2
from tfs_api.tensors import TensorError, encode_predict_request, from_tensor_proto, to_tensor_proto

RANDOM = np.random.default_rng(7)


def build_with_protobuf(inputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(output_filter=["probabilities"])
    request.model_spec.name = "pets"
    request.model_spec.version.value = 2**40
    request.model_spec.signature_name = "serving_default"
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_tensor_proto(array))
    return request


def encode(inputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
    data = encode_predict_request("pets", 2**40, "serving_default", ["probabilities"], inputs)
    return predict_pb2.PredictRequest.FromString(data)


def image(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


CASES = {
    "one pixel": {"image": image(1, 1, 1, 1)},
    "sizes of one, two, three and four bytes": {str(n): image(n) for n in (127, 128, 16_383, 16_384, 2_097_152)},
    "a batch of photos": {"image": image(4, 224, 224, 3)},
    "no rows": {"image": image(0, 4, 4, 3)},
    "a scalar": {"number": np.array(3, np.int32)},
    "numbers": {"image": RANDOM.random((2, 3, 3, 1), np.float32), "class_id": np.array([1, -1], np.int32)},
    "the other byte order": {"image": np.arange(6, dtype=">f4").reshape(1, 6)},
    "not contiguous": {"image": image(2, 6, 4, 3)[:, ::2]},
    "another order in memory": {"image": np.asfortranarray(image(2, 3, 4, 1))},
    "read-only": {"image": np.frombuffer(bytes(range(12)), np.uint8).reshape(1, 12)},
    "strings": {"text": np.array([b"a", b"\xff\x00"], object)},
    "wide numbers": {"index": np.arange(5, dtype=np.int64), "half": np.ones(3, np.float16), "yes": np.array([True])},
    "a name that is not ASCII": {"größe": image(1, 2)},
}


@pytest.mark.parametrize("inputs", CASES.values(), ids=CASES)
def test_requests_equal_those_of_protobuf(inputs: Mapping[str, np.ndarray]):
    assert encode(inputs) == build_with_protobuf(inputs)


def test_arrays_are_decoded_as_they_were_encoded():
    inputs = CASES["sizes of one, two, three and four bytes"] | CASES["numbers"]

    message = encode(inputs)

    for name, array in inputs.items():
        np.testing.assert_array_equal(from_tensor_proto(message.inputs[name]), array)


def test_unsupported_element_types_are_rejected():
    with pytest.raises(TensorError, match="datetime64"):
        encode_predict_request(
            "pets", 1, "serving_default", ["p"], {"image": np.array(["2020-01-01"], "datetime64[D]")}
        )
