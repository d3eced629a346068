import numpy as np
import pytest

from gateway.errors import ModelFailedError
from gateway.model_client.protocol import Call, Signature, TensorSpec, require_shape

IMAGES = TensorSpec("uint8", (None, 28, 28, 1))


def test_any_length_is_accepted_in_an_open_dimension():
    for count in (0, 1, 7):
        assert IMAGES.accepts(np.zeros((count, 28, 28, 1), np.uint8)), f"{count} images"


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
def test_another_element_type_rank_or_length_is_not_accepted(array: np.ndarray):
    assert not IMAGES.accepts(array)


def test_an_open_rank_accepts_every_shape_but_only_its_element_type():
    open_rank = TensorSpec("int32", None)

    assert open_rank.accepts(np.zeros((), np.int32))
    assert open_rank.accepts(np.zeros((2, 3, 4), np.int32))
    assert not open_rank.accepts(np.zeros((2, 3, 4), np.int64))


def test_strings_are_recognised_in_every_form_that_numpy_has_for_them():
    for array in (np.array([b"a"]), np.array(["a"]), np.array([b"a", b"bc"], object)):
        assert TensorSpec("string", (None,)).accepts(array), array.dtype
        assert not TensorSpec("uint8", (None,)).accepts(array), array.dtype


def test_a_scalar_has_no_dimension():
    assert TensorSpec("float32", ()).accepts(np.float32(1.0)[()])
    assert not TensorSpec("float32", ()).accepts(np.zeros(1, np.float32))


def test_a_spec_is_written_as_messages_show_it():
    assert str(IMAGES) == "uint8[N, 28, 28, 1]"
    assert str(TensorSpec("string", ())) == "string[]"
    assert str(TensorSpec("float32", None)) == "float32[…]"


@pytest.mark.parametrize(
    ("shapes", "takes_batches"),
    [
        ([(None, 28, 28, 1)], True),
        ([None], True),
        ([(None, 28, 28, 1), (None,)], True),
        ([(1, 28, 28, 1)], False),
        ([(None, 28, 28, 1), (1,)], False),
        ([()], False),
    ],
    ids=str,
)
def test_a_call_takes_batches_if_every_input_has_an_open_first_dimension(shapes: list, takes_batches: bool):  # noqa: FBT001
    inputs = {str(number): TensorSpec("uint8", shape) for number, shape in enumerate(shapes)}

    assert Call("pets", 1, "serving_default", Signature(inputs, {}), "scores").takes_batches is takes_batches


def test_a_call_whose_output_has_one_row_takes_no_batches():
    for rows, takes_batches in ((None, True), (1, False)):
        signature = Signature({"image": IMAGES}, {"scores": TensorSpec("float32", (rows, 3))})
        assert Call("pets", 1, "serving_default", signature, "scores").takes_batches is takes_batches


def test_an_output_of_another_shape_is_refused_with_both():
    require_shape("pets", np.zeros((2, 3), np.float32), 2, (None,))
    require_shape("pets", np.zeros((2, 3, 1), np.float32), 2, None)
    with pytest.raises(ModelFailedError, match=r"^pets returned float32\[2, 3\]; expected float32\[2, N, 3\]\.$"):
        require_shape("pets", np.zeros((2, 3), np.float32), 2, (None, 3))
