"""Arrays are encoded as PNG files that decode to the same pixels."""

import ctypes

import cv2
import numpy as np
import pytest

from image_gateway_client.png import encode


def pixels(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def decode(array):
    return cv2.imdecode(np.frombuffer(encode(memoryview(array)), np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (300, 2)])
def test_gray(shape):
    array = pixels(*shape)
    np.testing.assert_array_equal(decode(array), array)


def test_gray_with_a_channel_axis():
    array = pixels(5, 7, 1)
    np.testing.assert_array_equal(decode(array), array[..., 0])


def test_rgb_keeps_the_order_of_its_channels():
    array = pixels(5, 7, 3)
    np.testing.assert_array_equal(decode(array), array[..., ::-1])  # OpenCV gives BGR


def test_rgba():
    array = pixels(5, 7, 4)
    np.testing.assert_array_equal(decode(array), array[..., [2, 1, 0, 3]])


def test_gray_with_alpha():
    array = pixels(5, 7, 2)
    np.testing.assert_array_equal(decode(array), array[..., [0, 0, 0, 1]])


def test_memory_of_another_library_says_its_type_in_another_way():
    memory = memoryview((ctypes.c_ubyte * 4 * 3)())
    assert memory.format == "<B"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(encode(memory), np.uint8), -1), np.zeros((3, 4)))


def test_views_with_gaps_and_transposed_views():
    array = pixels(10, 12, 3)
    for view in (array[::2, ::3], array[::-1], array.transpose(1, 0, 2), np.asfortranarray(array)):
        np.testing.assert_array_equal(decode(view), view[..., ::-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "not float32[4, 4, 3]"),
        (np.zeros((4, 4), np.int8), "not int8[4, 4]"),
        (np.zeros((4, 4, 5), np.uint8), "not uint8[4, 4, 5]"),
        (np.zeros((2, 4, 4, 3), np.uint8), "not uint8[2, 4, 4, 3]"),
        (np.zeros((), np.uint8), "not uint8[]"),
        (np.zeros(4, np.float64), "not float64[4]"),
        (np.zeros((4, 4), bool), "not bool[4, 4]. Convert them: 255 * array.astype('uint8')."),
        (np.zeros((4, 4), np.uint16), "not uint16[4, 4]. Convert them: (array // 257).astype('uint8')"),
        (np.zeros((4, 4), ">u2"), "not uint16[4, 4]"),
        (np.zeros((4, 4), np.int64), "not int64[4, 4]. Convert them: array.astype('uint8') if they go from 0 to 255"),
        (np.zeros((4, 4), np.float16), "not float16[4, 4]. Convert them: (array * 255)"),
        (np.zeros((4, 4), complex), "not complex128[4, 4]"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array, message):
    with pytest.raises(ValueError, match=r"^(pixels are uint8\[H, W\]|the array has no pixels)") as refused:
        encode(memoryview(array))
    assert message in str(refused.value)
