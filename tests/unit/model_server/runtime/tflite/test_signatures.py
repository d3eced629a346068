import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_server.errors import InvalidArgumentError, ServingError
from model_server.runtime.tflite.interpreter import TensorDetails
from model_server.runtime.tflite.signatures import MAX_SIGNATURES, read_table, resolve
from tests.support.tflite_files import M, N, X, Y, doubling_table, predict_signature, signature_table


def tensors(*names, dtype="float32", shape=(1, 2)):
    return {name: TensorDetails(index, name, np.dtype(dtype), shape, shape) for index, name in enumerate(names)}


def test_each_entry_of_the_table_is_a_signature():
    signatures = read_table(doubling_table())

    assert signatures == {
        "serving_default": predict_signature(X, Y),
        "count": predict_signature(N, M),
        "both": predict_signature(X | N, Y | M),
    }


@given(st.dictionaries(st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=20), st.text(), max_size=5))
def test_a_message_ends_at_its_first_zero_byte(methods):
    messages = {
        name: predict_signature(X, Y).__class__(method_name=method).SerializeToString() + b"\0\xff"
        for name, method in methods.items()
        if "\0" not in method
    }

    signatures = read_table(signature_table(messages))

    assert {name: signature.method_name for name, signature in signatures.items()} == {
        name: methods[name] for name in messages
    }


def test_a_message_cut_within_a_field_is_refused():
    scalar = predict_signature({"x": ("x:0", "FLOAT", (0,))}, Y)  # a size of 0 is a zero byte

    with pytest.raises(InvalidArgumentError) as failure:
        read_table(signature_table({"serving_default": scalar.SerializeToString()}))

    assert failure.value.message == (
        "Invalid SignatureDefs found in TfLite model: Cannot parse signature def found in flatbuffer."
    )


@pytest.mark.parametrize("value", [7, 1.5, [1, 2]])
def test_an_entry_that_is_not_text_is_an_empty_signature(value):
    signatures = read_table(signature_table({"serving_default": value}))

    assert signatures["serving_default"].ByteSize() == 0


def test_a_table_that_is_not_a_map_has_no_signatures():
    assert read_table(b"\x07\x04\x01") == {}


def test_too_many_signatures_are_refused():
    with pytest.raises(InvalidArgumentError, match=f"more than {MAX_SIGNATURES} signatures"):
        read_table(signature_table({str(number): b"" for number in range(MAX_SIGNATURES + 1)}))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(table):
    try:
        signatures = read_table(table)
    except InvalidArgumentError:
        return
    assert len(signatures) <= MAX_SIGNATURES


@given(st.data())
def test_a_damaged_table_is_read_or_refused(data):
    table = bytearray(doubling_table())
    for _ in range(data.draw(st.integers(1, 4))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))

    try:
        read_table(bytes(table[: data.draw(st.integers(0, len(table)))]))
        read_table(bytes(table))
    except InvalidArgumentError:
        return


def test_names_of_the_table_lose_the_index_if_the_file_has_none():
    signatures = resolve({"s": predict_signature(X, Y)}, tensors("x"), tensors("y:0"))

    assert (signatures["s"].inputs["x"].name, signatures["s"].outputs["y"].name) == ("x", "y:0")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ("z:0", "y:0", "Unknown tensor 'x:0'.\n\tSignature input x references an unknown tensor"),
        ("x:0", "z:0", "Unknown tensor 'y:0'.\n\tSignature output y references an unknown tensor"),
    ],
)
def test_a_signature_of_unknown_tensors_is_refused(inputs, outputs, message):
    with pytest.raises(ServingError) as failure:
        resolve({"s": predict_signature(X, Y)}, tensors(inputs), tensors(outputs))

    assert (failure.value.code, failure.value.message) == (13, message)


def test_without_a_table_a_signature_is_generated_from_the_tensor_names(caplog):
    signatures = resolve({}, tensors("in:0", dtype="uint8", shape=(1, 28)), tensors("out:0"))

    assert signatures == {
        "serving_default": predict_signature({"in": ("in:0", "UINT8", (1, 28))}, {"out": ("out:0", "FLOAT", (1, 2))})
    }
    assert caplog.messages == ["No signature def found in TFLite model. Generating one."]


def test_of_generated_names_that_are_equal_the_last_stays():
    signatures = resolve({}, tensors("in:0"), tensors("out:2", "out:0", "out:1"))

    assert {alias: info.name for alias, info in signatures["serving_default"].outputs.items()} == {"out": "out:2"}


def test_a_type_that_the_real_server_does_not_know_is_refused():
    with pytest.raises(ServingError, match="Unknown TfLite type: float16 of tensor in:0"):
        resolve({}, tensors("in:0", dtype="float16"), tensors("out:0"))
