from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import image_files as files
from vision.card import InputSpec
from vision.decode import TooManyPixelsError, decode
from vision.preprocess import load, preprocess, read

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
RESIZES = ["stretch", "center_crop", "crop_to_aspect_ratio", "letterbox"]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


# Size


@pytest.mark.parametrize(("name", "flag"), INTERPOLATIONS.items())
def test_stretch_is_cv2_resize(name, flag):
    image = noise(60, 90)

    result = preprocess(image, InputSpec(height=32, width=24, interpolation=name))

    assert np.array_equal(result, cv2.resize(image, (24, 32), interpolation=flag))


def test_an_image_of_the_right_size_is_not_changed():
    image = noise(31, 17)

    for resize, interpolation in product(RESIZES, INTERPOLATIONS):
        result = preprocess(image, InputSpec(height=31, width=17, resize=resize, interpolation=interpolation))

        assert np.array_equal(result, image), f"{resize}, {interpolation}"


@pytest.mark.parametrize(
    ("size", "scaled", "offset"),
    [
        ((100, 200), (50, 100), (0, 25)),
        ((200, 100), (100, 50), (25, 0)),
        ((100, 151), (50, 76), (0, 13)),  # 75.5 is rounded up
        ((100, 153), (50, 77), (0, 13)),  # of 27 surplus columns, 13 are cut off at the left
        ((25, 30), (50, 60), (0, 5)),
    ],
)
def test_center_crop_scales_the_shorter_side_and_crops_the_middle(size, scaled, offset):
    image = noise(*size)

    result = preprocess(image, InputSpec(height=50, width=50, resize="center_crop"))

    whole = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(result, whole[offset[0] : offset[0] + 50, offset[1] : offset[1] + 50])


EXTREME_SIZES = [(1, 10_000), (10_000, 1), (3, 20_000), (900, 20), (1, 1_000_000), (1_000_000, 1)]


def crop_of_scaled_whole(image: np.ndarray, side: int, interpolation: int) -> np.ndarray:
    """Scale the whole image until its shorter side has `side` pixels, then crop the middle."""
    scale = side / min(image.shape[:2])
    height, width = (int(length * scale + 0.5) for length in image.shape[:2])
    whole = cv2.resize(image, (width, height), interpolation=interpolation)
    top, left = (height - side) // 2, (width - side) // 2
    return whole[top : top + side, left : left + side]


@pytest.mark.parametrize(("name", "flag"), INTERPOLATIONS.items())
def test_center_crop_of_a_long_image_resembles_that_of_the_scaled_whole(name, flag):
    spec = InputSpec(height=50, width=50, resize="center_crop", interpolation=name)

    for size in ((4, 801), (801, 4), (5, 900), (200, 9_001)):
        image = cv2.resize(noise(3, 5), size[::-1], interpolation=cv2.INTER_LINEAR)

        result = preprocess(image, spec)

        assert np.abs(result.astype(int) - crop_of_scaled_whole(image, 50, flag)).max() <= 3, size


@pytest.mark.parametrize(("name", "flag"), INTERPOLATIONS.items())
def test_center_crop_of_a_panorama_equals_that_of_the_scaled_whole(name, flag):
    spec = InputSpec(height=50, width=50, resize="center_crop", interpolation=name)

    for size in ((50, 800), (800, 50), (3, 48), (1, 16), (33, 500)):
        image = noise(*size)

        result = preprocess(image, spec)

        assert np.array_equal(result, crop_of_scaled_whole(image, 50, flag)), size


@pytest.mark.parametrize("resize", [*RESIZES, "fit_ink"])
def test_no_image_of_any_proportions_is_scaled_far_beyond_the_input(resize, monkeypatch):
    resized_bytes = []
    resize_image = cv2.resize

    def record_resize(*arguments, **options):
        resized = resize_image(*arguments, **options)
        resized_bytes.append(resized.size)
        return resized

    monkeypatch.setattr(cv2, "resize", record_resize)

    for size, interpolation in product(EXTREME_SIZES, INTERPOLATIONS):
        resized_bytes.clear()
        spec = InputSpec(height=224, width=224, color="GRAY", resize=resize, interpolation=interpolation)

        result = preprocess(noise(*size), spec)

        assert result.shape == (224, 224, 1)
        assert resized_bytes, f"{size}, {interpolation}: nothing was resized"
        assert max(resized_bytes) <= 40 * result.size, f"{size}, {interpolation}"


@pytest.mark.parametrize(
    ("size", "scaled", "offset"),
    [
        ((100, 200), (60, 120), (5, 35)),
        ((200, 100), (120, 60), (35, 5)),
        ((100, 159), (60, 95), (5, 22)),  # 95.4 is rounded down; 22.5 to the even number
        ((100, 155), (60, 93), (5, 22)),  # so is 21.5
        ((50, 50), (60, 60), (5, 5)),
    ],
)
def test_center_crop_with_a_resize_size_crops_less_than_the_shorter_side(size, scaled, offset):
    image = noise(*size)

    result = preprocess(image, InputSpec(height=50, width=50, resize="center_crop", resize_size=60))

    whole = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(result, whole[offset[0] : offset[0] + 50, offset[1] : offset[1] + 50])


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((100, 200), (0, 100), (25, 175)),
        ((300, 200), (83, 216), (0, 200)),  # 133.3 rows and an offset of 83.5 are rounded down
        ((1, 10), (0, 1), (4, 5)),
        ((10, 1), (4, 5), (0, 1)),
    ],
)
def test_crop_to_aspect_ratio_crops_the_middle_and_scales_it(size, rows, columns):
    image = noise(*size)

    result = preprocess(image, InputSpec(height=40, width=60, resize="crop_to_aspect_ratio"))

    middle = image[slice(*rows), slice(*columns)]
    assert np.array_equal(result, cv2.resize(middle, (60, 40), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize(
    ("size", "scaled", "offset"),
    [
        ((100, 200), (25, 50), (12, 0)),  # of 25 rows of bars, 12 are above
        ((200, 100), (50, 25), (0, 12)),
        ((1, 400), (1, 50), (24, 0)),
        ((10, 10), (50, 50), (0, 0)),
    ],
)
def test_letterbox_scales_the_longer_side_and_adds_bars(size, scaled, offset):
    image = noise(*size)

    result = preprocess(image, InputSpec(height=50, width=50, resize="letterbox", background=(7, 8, 9)))

    expected = flat(50, 50, (7, 8, 9))
    inside = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    expected[offset[0] : offset[0] + scaled[0], offset[1] : offset[1] + scaled[1]] = inside
    assert np.array_equal(result, expected)


@pytest.mark.parametrize(
    ("spec", "bar"),
    [
        (InputSpec(height=4, width=4, resize="letterbox", background=(200, 100, 10), color="BGR"), [10, 100, 200]),
        (InputSpec(height=4, width=4, resize="letterbox", background=(200, 100, 10), color="GRAY"), [120]),
    ],
)
def test_letterbox_bars_have_the_color_order_of_the_model(spec, bar):
    assert preprocess(flat(2, 4, (9, 9, 9)), spec)[0, 0].tolist() == bar


SPECS = st.builds(
    InputSpec,
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    color=st.just("GRAY"),
    resize=st.sampled_from([*RESIZES, "fit_ink"]),
    interpolation=st.sampled_from(list(INTERPOLATIONS)),
    layout=st.sampled_from(["NHWC", "NCHW"]),
    dtype=st.sampled_from(["uint8", "float32"]),
    invert_light_background=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(size=st.tuples(*[st.integers(1, 120)] * 2), spec=SPECS, color=st.sampled_from(["RGB", "BGR", "GRAY"]))
def test_any_image_becomes_the_input_of_the_model(size, spec, color):
    spec = spec if spec.resize == "fit_ink" else replace(spec, color=color)
    image = noise(*size)
    original = image.copy()

    result = preprocess(image, spec)

    assert (result.shape, result.dtype) == (spec.shape, np.dtype(spec.dtype))
    assert result.flags.c_contiguous
    assert np.array_equal(image, original)


@pytest.mark.parametrize("resize", ["center_crop", "letterbox"])
def test_proportions_are_preserved(resize):
    circle = cv2.circle(flat(200, 300, (0, 0, 0)), (150, 100), 60, (255, 255, 255), -1)

    result = preprocess(circle, InputSpec(height=64, width=64, resize=resize, background=(0, 0, 0)))

    rows, columns = (np.flatnonzero((result[..., 0] > 127).any(axis=axis)) for axis in (1, 0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


# Colour


def test_channels_have_the_color_order_of_the_model():
    image = flat(2, 2, (200, 100, 50))

    assert preprocess(image, InputSpec(height=2, width=2))[0, 0].tolist() == [200, 100, 50]
    assert preprocess(image, InputSpec(height=2, width=2, color="BGR"))[0, 0].tolist() == [50, 100, 200]
    gray = preprocess(image, InputSpec(height=2, width=2, color="GRAY"))
    assert gray.shape == (2, 2, 1)
    assert gray[0, 0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def inverting(**fields: object) -> InputSpec:
    return InputSpec(**{"height": 28, "width": 28, "color": "GRAY", "invert_light_background": True} | fields)


def test_a_light_background_is_inverted_and_a_dark_one_is_not():
    dark = flat(28, 28, (0, 0, 0))
    dark[8:20, 12:16] = 255

    assert np.array_equal(preprocess(dark, inverting()), dark[..., :1])
    assert np.array_equal(preprocess(255 - dark, inverting()), dark[..., :1])
    assert np.array_equal(preprocess(255 - dark, inverting(invert_light_background=False)), 255 - dark[..., :1])


@pytest.mark.parametrize(("shade", "is_inverted"), [(127, False), (128, True)])
def test_a_background_above_mid_gray_is_light(shade, is_inverted):
    result = preprocess(flat(28, 28, (shade,) * 3), inverting())

    assert (result == (255 - shade if is_inverted else shade)).all()


def test_ink_at_the_edge_and_a_large_dark_middle_do_not_make_a_background_dark():
    paper = flat(160, 160, (255, 255, 255))
    paper[30:130, 30:130] = 0  # more ink than paper
    paper[:, 70:90] = 0  # from edge to edge
    paper[[0, -1]] = 0  # a thin frame
    paper[:, [0, -1]] = 0

    result = preprocess(paper, inverting(height=160, width=160))

    assert result[5, 20, 0] == 0


def test_colours_are_inverted():
    yellow = flat(8, 8, (250, 240, 10))

    result = preprocess(yellow, InputSpec(height=8, width=8, invert_light_background=True))

    assert result[0, 0].tolist() == [5, 15, 245]


@pytest.mark.parametrize("shade", [0, 255])
def test_letterbox_bars_are_dark_for_light_and_dark_backgrounds(shade):
    result = preprocess(flat(10, 20, (shade,) * 3), inverting(resize="letterbox"))

    assert not result.any()


# Numbers


def test_float_input_without_normalisation_has_0_to_255():
    result = preprocess(flat(1, 1, (0, 128, 255)), InputSpec(height=1, width=1, dtype="float32"))

    assert result.dtype == np.float32
    assert result.ravel().tolist() == [0, 128, 255]


def test_mean_and_std_are_per_channel_in_the_order_of_the_model():
    spec = InputSpec(
        height=1, width=1, color="BGR", dtype="float32", layout="NCHW", mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0)
    )

    result = preprocess(flat(1, 1, (255, 100, 0)), spec)

    assert result.ravel().tolist() == [-5.0, 20.0, 45.0]


@pytest.mark.parametrize(
    ("fields", "expected"), [({"mean": (127.5,) * 3}, 127.5), ({"std": (255.0,) * 3}, 1.0)], ids=["mean", "std"]
)
def test_mean_or_std_may_be_set_without_the_other(fields, expected):
    result = preprocess(flat(1, 1, (255,) * 3), InputSpec(height=1, width=1, dtype="float32", **fields))

    assert result.ravel().tolist() == [expected] * 3


def test_layout_nchw_has_channels_first():
    image = noise(5, 7)

    result = preprocess(image, InputSpec(height=5, width=7, layout="NCHW"))

    assert np.array_equal(result, image.transpose(2, 0, 1))
    assert result.flags.c_contiguous


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["gray", "rgba", "float", "empty"],
)
def test_arrays_other_than_rgb_images_are_rejected(image):
    with pytest.raises(ValueError, match=r"expected uint8\[H, W, 3\]"):
        preprocess(image, InputSpec(height=2, width=2))


# Files


def test_load_decodes_and_preprocesses():
    image = noise(40, 60)
    spec = InputSpec(height=20, width=20, color="BGR", resize="letterbox")

    result = load(files.encoded(image, ".png"), spec, max_pixels=10_000)

    assert np.array_equal(result, preprocess(image, spec))


def test_load_composites_transparency_onto_the_background_of_the_card():
    data = files.encoded(np.zeros((4, 4, 4), np.uint8), ".png")

    result = load(data, InputSpec(height=4, width=4, background=(1, 2, 3)), max_pixels=16)

    assert (result == (1, 2, 3)).all()


@pytest.mark.parametrize("resize", RESIZES)
def test_load_decodes_large_jpegs_at_the_smallest_scale_that_covers_the_input(resize):
    smooth = cv2.resize(noise(4, 6), (900, 600), interpolation=cv2.INTER_LINEAR)
    data = files.encoded(smooth, ".jpg")
    spec = InputSpec(height=64, width=64, resize=resize)

    result = load(data, spec, max_pixels=600 * 900)

    assert np.array_equal(result, preprocess(decode(data, max_pixels=600 * 900, cover=(64, 64)), spec))
    full_size = preprocess(decode(data, max_pixels=600 * 900), spec)
    assert np.abs(result.astype(int) - full_size).mean() < 5


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(height=8, width=8, decoding="full"),
        InputSpec(height=8, width=8, interpolation="nearest"),
        InputSpec(height=8, width=8, interpolation="nearest_exact"),
        InputSpec(height=8, width=8, resize="fit_ink", color="GRAY", interpolation="area"),
    ],
)
def test_load_decodes_full_size_if_every_pixel_matters(spec):
    data = files.encoded(noise(160, 160), ".jpg")

    result = load(data, spec, max_pixels=25_600)

    assert np.array_equal(result, preprocess(decode(data, max_pixels=25_600), spec))


def test_load_reduces_large_photos_of_drawings_without_changing_a_small_drawing():
    paper = np.full((2400, 3000, 3), 230, np.uint8)
    cv2.ellipse(paper, (1900, 900), (170, 240), 20, 30, 300, (40, 40, 60), 30)  # a fifth of the shorter side
    data = files.encoded(paper, ".jpg")
    spec = InputSpec(
        height=28, width=28, color="GRAY", resize="fit_ink", interpolation="area", invert_light_background=True
    )

    result = load(data, spec, max_pixels=paper.size)

    assert read(data, spec, max_pixels=paper.size).shape == (1200, 1500, 3)
    full_size = preprocess(decode(data, max_pixels=paper.size), spec)
    assert full_size.mean() > 20
    assert np.abs(result.astype(int) - full_size).mean() < 2


def test_load_enforces_the_pixel_limit():
    with pytest.raises(TooManyPixelsError):
        load(files.encoded(noise(11, 10), ".png"), InputSpec(height=2, width=2), max_pixels=100)
