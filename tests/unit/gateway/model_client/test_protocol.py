import numpy as np
import pytest

from gateway.model_client.protocol import TensorSpec

IMAGES = TensorSpec("uint8", (None, 28, 28, 1))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_any_length_is_taken_where_the_signature_leaves_it_open(count: int):
    assert IMAGES.accepts(np.zeros((count, 28, 28, 1), np.uint8))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 28, 28, 1), np.float32),
        np.zeros((1, 28, 28, 1), np.int8),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((1, 28, 28), np.uint8),
        np.zeros((1, 28, 28, 1, 1), np.uint8),
        np.zeros((1, 28, 28, 3), np.uint8),
        np.zeros((1, 27, 28, 1), np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_another_element_type_rank_or_length_is_not(array: np.ndarray):
    assert not IMAGES.accepts(array)


def test_an_open_rank_takes_every_shape_but_only_its_element_type():
    anything = TensorSpec("int32", None)
    assert anything.accepts(np.zeros((), np.int32))
    assert anything.accepts(np.zeros((2, 3, 4), np.int32))
    assert not anything.accepts(np.zeros((2, 3, 4), np.int64))


@pytest.mark.parametrize("array", [np.array([b"a"]), np.array(["a"]), np.array([b"a", b"bc"], object)])
def test_strings_are_strings_however_numpy_holds_them(array: np.ndarray):
    assert TensorSpec("string", (None,)).accepts(array)
    assert not TensorSpec("uint8", (None,)).accepts(array)


def test_a_scalar_has_no_dimension():
    assert TensorSpec("float32", ()).accepts(np.float32(1.0)[()])
    assert not TensorSpec("float32", ()).accepts(np.zeros(1, np.float32))


def test_it_is_written_the_way_messages_want_it():
    assert str(IMAGES) == "uint8[N, 28, 28, 1]"
    assert str(TensorSpec("string", ())) == "string[]"
    assert str(TensorSpec("float32", None)) == "float32[…]"
