"""The accepted forms of an image, and what is sent for each."""

import array
import io
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from image_gateway_client.errors import Problem
from image_gateway_client.images import ImageBytes, ImageUrl, check_several, load, local_problem, size_bytes

DATA = b"\xff\xd8\xff some picture"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    return path


def test_every_form_of_a_file_has_the_same_bytes(photo):
    for value in (photo, str(photo), DATA, bytearray(DATA), memoryview(DATA), np.frombuffer(DATA, np.uint8)):
        assert load(value, max_bytes=100) == ImageBytes(DATA)
    with photo.open("rb") as file:
        assert load(file, max_bytes=100) == ImageBytes(DATA)
        file.seek(0)
        assert load(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), max_bytes=100) == ImageBytes(DATA)
    assert load(io.BytesIO(DATA), max_bytes=100) == ImageBytes(DATA)


@pytest.mark.parametrize("url", ["http://a.example/x.jpg", "https://a.example/x.jpg", "HTTPS://A.EXAMPLE/x"])
def test_a_url_is_passed_on_to_the_gateway(url):
    assert load(url, max_bytes=1) == ImageUrl(url)
    assert size_bytes(url) == 0


def test_a_pipe_is_read_to_its_end_if_it_is_written_to_and_not_waited_for_otherwise(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="This is a pipe, and nothing has been written to it"):
        load(pipe, max_bytes=100)

    large = bytes(1_000_000)  # more than a pipe holds
    reader, writer = os.pipe()  # as a shell does for <(curl …)
    with os.fdopen(reader), os.fdopen(writer, "wb", buffering=0) as output, ThreadPoolExecutor() as thread:
        thread.submit(lambda: (output.write(large), output.close()))
        assert load(f"/dev/fd/{reader}", max_bytes=len(large)) == ImageBytes(large)


@pytest.mark.parametrize(("max_bytes", "limit"), [(3, "3 bytes"), (2 * 1024 * 1024, "2 MiB"), (1_600_000, "1.526 MiB")])
def test_a_file_that_is_too_large_is_refused_with_the_limit_in_mib(tmp_path, max_bytes, limit):
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(max_bytes + 1))

    with pytest.raises(OSError, match=f"More than {limit}:"):
        load(file, max_bytes=max_bytes)


def test_a_path_that_looks_like_a_url_is_a_path():
    with pytest.raises(FileNotFoundError):
        load(Path("http://a.example/x.jpg"), max_bytes=100)


def test_pixels_are_sent_as_png():
    sent = load(np.zeros((3, 4, 3), np.uint8), max_bytes=1000)
    assert sent.data.startswith(b"\x89PNG")


def test_a_file_that_cannot_be_sent_is_named(photo, tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, limit, message in (
        (tmp_path / "none.png", 100, "No such file or directory"),
        (tmp_path, 100, "Is a directory"),
        (empty, 100, "The file is empty"),
        (photo, len(DATA) - 1, f"More than {len(DATA) - 1} bytes"),
    ):
        with pytest.raises(OSError, match=message) as refused:
            load(path, max_bytes=limit)
        assert local_problem(refused.value) == Problem("about:blank", "The image cannot be read", f"{message}: {path}")


def test_a_file_of_exactly_the_limit_is_sent(photo):
    assert load(photo, max_bytes=len(DATA)) == ImageBytes(DATA)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3, TypeError, "not int"),
        (object(), TypeError, "a picture of Pillow, not object"),
        (None, TypeError, "not NoneType"),
        (["a.jpg"], TypeError, "not list"),
        (io.StringIO("text"), TypeError, "mode 'rb'"),
        (io.TextIOWrapper(io.BytesIO(DATA)), TypeError, "mode 'rb'"),
        (array.array("d", [1.0]), ValueError, "not float64"),
        (np.zeros((2, 2), np.float32), ValueError, "not float32"),
    ],
)
def test_an_object_that_is_not_an_image_is_refused(value, error, message):
    with pytest.raises(error, match=message) as refused:
        load(value, max_bytes=100)
    assert message in local_problem(refused.value).detail


def test_sizes_are_known_without_reading(photo, tmp_path):
    assert size_bytes(photo) == size_bytes(str(photo)) == size_bytes(DATA) == len(DATA)
    assert size_bytes(np.zeros((4, 5, 3), np.uint8)) == 60
    assert size_bytes(tmp_path / "none") == size_bytes(io.BytesIO(DATA)) == size_bytes(7) == 0


class Interface:
    """An array that only says where its pixels are."""

    def __init__(self, array, *, copies=True, **members):
        self.array = array
        interface = dict(array.__array_interface__)
        data = {"data": array.tobytes()} if copies else {}
        self.__array_interface__ = {**interface, **data, **members}


class Convertible:
    """An array that converts itself to one of NumPy, as tensors of PyTorch do."""

    def __init__(self, array):
        self.array = array

    def __array__(self):
        return self.array


PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def decode(source):
    return cv2.imdecode(np.frombuffer(source.data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(
    "array",
    [Interface(PIXELS), Interface(PIXELS, strides=(12, 3, 1)), Interface(PIXELS, copies=False), Convertible(PIXELS)],
)
def test_arrays_of_other_libraries_are_sent_as_png(array):
    np.testing.assert_array_equal(decode(load(array, max_bytes=1000)), PIXELS[..., ::-1])
    assert size_bytes(array) == PIXELS.nbytes


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((2, 2, 3), np.float64),
            r"not float64\[2, 2, 3\]. Convert them: \(array \* 255\).astype\('uint8'\) if they go",
        ),
        (np.zeros((3, 8, 8), np.uint8), r"Put the channels last: array.transpose\(1, 2, 0\)\."),
        (np.zeros((9, 8, 8, 3), np.uint8), r"Send its images one by one: list\(array\)\."),
        (Interface(np.zeros((2, 2), np.float32)), "not float32. Convert them"),
        (Interface(PIXELS[:, ::2], strides=(1, 2, 3)), "not in one piece"),
        (Interface(np.zeros((0, 2), np.uint8)), "The file is empty"),
        (Interface(PIXELS, data=b"short"), "does not say where its pixels are"),
        (Interface(PIXELS, data=None), "does not say where its pixels are"),
        (Interface(PIXELS, shape=None), "does not say where its pixels are"),
        (Convertible(np.zeros((2, 2), np.float32)), r"not float32\[2, 2\]"),
    ],
)
def test_an_array_that_cannot_be_sent_says_what_to_do(array, message):
    with pytest.raises((ValueError, OSError), match=message):
        load(array, max_bytes=10_000)


PICTURE = PIL.Image.fromarray(PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_picture_of_pillow_is_sent_without_loss(mode):
    picture = PICTURE.convert(mode)

    sent = PIL.Image.open(io.BytesIO(load(picture, max_bytes=10_000).data))

    kept = picture.convert("RGB") if mode in {"CMYK", "YCbCr"} else picture
    assert (sent.format, sent.mode) == ("PNG", kept.mode)
    assert sent.tobytes() == kept.tobytes()
    assert size_bytes(picture) >= picture.width * picture.height


def test_a_picture_of_16_bits_keeps_them():
    deep = PIL.Image.fromarray(np.arange(20, dtype=np.uint16).reshape(5, 4) * 3000)

    sent = decode(load(deep, max_bytes=10_000))

    np.testing.assert_array_equal(sent, np.asarray(deep))


@pytest.mark.parametrize("mode", ["I;16B", "I;16L", "I;16N"])
def test_a_picture_of_16_bits_in_any_byte_order_keeps_them(mode):
    picture = PIL.Image.new(mode, (2, 1))
    for x, value in enumerate((300, 40_000)):
        picture.putpixel((x, 0), value)

    assert decode(load(picture, max_bytes=10_000)).tolist() == [[300, 40_000]]


@pytest.mark.parametrize(("mode", "sent_mode"), [("La", "LA"), ("PA", "RGBA"), ("RGBa", "RGBA"), ("RGBX", "RGB")])
def test_a_picture_of_another_mode_is_converted(mode, sent_mode):
    sent = PIL.Image.open(io.BytesIO(load(PIL.Image.new(mode, (2, 1)), max_bytes=10_000).data))

    assert (sent.mode, sent.size) == (sent_mode, (2, 1))


def test_the_advice_for_an_array_of_truth_values_is_right():
    array = np.eye(2, dtype=bool)
    with pytest.raises(ValueError, match="Convert them: ") as refused:
        load(array, max_bytes=10_000)

    converted = eval(str(refused.value).partition("Convert them: ")[2].rstrip("."), {"array": array})  # noqa: S307  # our own message

    assert decode(load(converted, max_bytes=10_000)).tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_pillow_is_sent_upright(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PICTURE.save(tmp_path / "turned.png", exif=exif)
    with PIL.Image.open(tmp_path / "turned.png") as picture:
        expected = PIL.ImageOps.exif_transpose(picture)
        sent = PIL.Image.open(io.BytesIO(load(picture, max_bytes=10_000).data))

    assert sent.tobytes() == expected.tobytes()
    assert sent.getexif().get(0x0112) is None


@pytest.mark.parametrize(("mode", "highest"), [("F", 1), ("I", 65535)])
def test_the_advice_for_a_picture_of_other_numbers_is_right(mode, highest):
    picture = PIL.Image.fromarray(np.full((2, 2), highest, {"F": np.float32, "I": np.int32}[mode]))
    with pytest.raises(ValueError, match="Convert them: ") as refused:
        load(picture, max_bytes=10_000)

    advice = str(refused.value).partition("Convert them: ")[2].partition(" if ")[0]
    converted = eval(advice, {"image": picture})  # noqa: S307  # our own message

    assert decode(load(converted, max_bytes=10_000)).tolist() == [[255, 255]] * 2


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_picture_of_other_numbers_says_what_to_do(mode):
    with pytest.raises(ValueError, match=f"not mode {mode}. Convert them"):
        load(PICTURE.convert(mode), max_bytes=10_000)


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        PIXELS[..., 0],
        PIXELS.astype(np.float32),
        PIXELS[..., :1],
        Interface(PIXELS),
        Convertible(PIXELS),
        np.frombuffer(DATA, np.uint8),
        bytearray(DATA),
    ],
)
def test_a_single_array_is_not_several_images(image):
    with pytest.raises(TypeError, match=r"expected several images, not a single [a-zA-Z]+; put it into a list"):
        check_several(image)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 5, 4, 3), np.uint8),
        np.zeros((2, 28, 28), np.uint8),
        np.array(["a.jpg", "b.jpg"]),
        np.array([PIXELS, None], object),
        [PIXELS],
        (DATA,),
    ],
)
def test_an_array_of_images_is_several(images):
    assert check_several(images) is images


def test_a_damaged_picture_is_a_problem(tmp_path):
    PIL.Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])

    with PIL.Image.open(tmp_path / "cut.png") as picture, pytest.raises(OSError, match="truncated") as refused:
        load(picture, max_bytes=10_000)

    assert "truncated" in local_problem(refused.value).detail


def test_the_client_loads_neither_numpy_nor_pillow():
    code = "import sys, image_gateway_client; from image_gateway_client.images import load; load(b'x', max_bytes=1)"
    check = "print([name for name in ('numpy', 'PIL') if name in sys.modules])"

    printed = subprocess.run([sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "[]"
