import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vision.card import InputSpec
from vision.errors import TooManyPixelsError, UnsupportedFormatError
from vision.heatmap import HOTTEST_WEIGHT, MAX_SIDE, MIN_SIDE, blend, draw, render_view
from vision.preprocess import preprocess

COLD = np.zeros((2, 2), np.float32)


def spec(resize: str, height: int = 100, width: int = 100, **options: object) -> InputSpec:
    return InputSpec(height=height, width=width, resize=resize, **options)


def quarters(height: int, width: int) -> NDArray[np.uint8]:
    """Return red, green, blue and white quarters: top left, top right, bottom left, bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


def corners(image: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    return [tuple(image[row, column].tolist()) for row in (2, -3) for column in (2, -3)]


QUARTERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


# The view of the model


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((300, 400), (300, 400)),
        ((3000, 4000), (384, 512)),
        ((32, 32), (256, 256)),
        ((10, 20), (128, 256)),
        ((512, 256), (512, 256)),
        ((1, 3000), (1, 512)),
        ((1, 1), (256, 256)),
    ],
    ids=str,
)
def test_a_stretched_image_is_rendered_in_its_own_proportions(size: tuple[int, int], view: tuple[int, int]):
    result = render_view(np.full((*size, 3), 77, np.uint8), spec("stretch"))

    assert result.shape == (*view, 3)
    assert (result == 77).all()


def test_a_stretched_image_is_rendered_as_a_whole():
    assert corners(render_view(quarters(300, 400), spec("stretch"))) == QUARTERS


@pytest.mark.parametrize(
    ("size", "model", "view"),
    [
        ((300, 400), (100, 100), (300, 300)),
        ((400, 300), (100, 100), (300, 300)),
        ((300, 400), (50, 100), (200, 400)),
        ((3000, 4000), (224, 224), (512, 512)),
        ((32, 48), (32, 32), (256, 256)),
        ((1, 10_000), (224, 224), (256, 256)),
    ],
    ids=str,
)
def test_the_middle_of_a_cropped_image_is_rendered(
    size: tuple[int, int], model: tuple[int, int], view: tuple[int, int]
):
    result = render_view(np.zeros((*size, 3), np.uint8), spec("center_crop", *model))

    assert result.shape == (*view, 3)


def test_cropped_areas_are_not_rendered():
    image = np.full((300, 500, 3), 9, np.uint8)
    image[:, 100:400] = quarters(300, 300)

    result = render_view(image, spec("center_crop"))

    assert corners(result) == QUARTERS


def test_bars_around_an_image_are_rendered():
    result = render_view(quarters(200, 400), spec("letterbox", background=(10, 20, 30)))

    assert result.shape == (400, 400, 3)
    assert (result[:100] == (10, 20, 30)).all()
    assert (result[300:] == (10, 20, 30)).all()
    assert corners(result[100:300]) == QUARTERS


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (7, 3)], ids=str)
def test_an_image_of_any_proportions_fits_between_bars(size: tuple[int, int]):
    result = render_view(np.zeros((*size, 3), np.uint8), spec("letterbox", 64, 32))

    assert MIN_SIDE <= result.shape[0] <= MAX_SIDE
    assert result.shape[1] == result.shape[0] // 2


def test_a_drawing_is_rendered_as_the_models_input():
    paper = np.full((400, 300, 3), 250, np.uint8)
    cv2.line(paper, (100, 50), (200, 350), (20, 20, 20), 20)
    options = {"color": "GRAY", "invert_light_background": True, "dtype": "float32", "mean": (33.0,), "std": (78.0,)}

    result = render_view(paper, spec("fit_ink", 28, 28, **options))

    assert result.shape == (256, 256, 3)
    assert result[0, 0].tolist() == [0, 0, 0]  # light ink on a dark background, as in the input
    assert result.max() > 200
    assert (result[..., 0] == result[..., 2]).all()


def test_the_view_of_a_gray_model_is_rendered_in_colour():
    model = spec("stretch", color="GRAY", invert_light_background=True)

    result = render_view(quarters(300, 300), model)

    assert corners(result) == QUARTERS


RESIZES: dict[str, dict[str, int]] = {
    "stretch": {},
    "center_crop": {},
    "crop_to_aspect_ratio": {},
    "letterbox": {},
    "center_crop, resize_size": {"resize_size": 100},
}


@pytest.mark.parametrize(("resize", "options"), RESIZES.items(), ids=RESIZES)
def test_the_map_is_aligned_with_the_view(resize: str, options: dict[str, int]):
    """A map that is hot on white areas of the model's input colours the white areas of the view."""
    image = np.zeros((300, 500, 3), np.uint8)
    image[100:200, 200:300] = 255
    model = spec(resize.partition(",")[0], 50, 50, **options)
    hot = cv2.resize(preprocess(image, model)[..., 0], (10, 10), interpolation=cv2.INTER_AREA)

    view = render_view(image, model)
    changed = (blend(view, hot.astype(np.float32) / 255) != view).any(axis=2)

    white = view[..., 0] > 127
    assert (changed & white).sum() > 0.9 * white.sum()


# Blending


def test_cold_areas_are_not_coloured():
    image = quarters(30, 40)

    np.testing.assert_array_equal(blend(image, COLD), quarters(30, 40))


def test_the_blended_image_is_a_copy():
    image = quarters(30, 40)

    blend(image, COLD + 1)

    np.testing.assert_array_equal(image, quarters(30, 40))


def test_hotter_areas_are_coloured_more():
    gray = np.full((8, 8, 3), 100, np.uint8)

    change = [
        int(np.abs(blend(gray, np.full((3, 3), heat, np.float32)).astype(int) - 100).sum())
        for heat in (0, 0.25, 0.5, 1)
    ]

    assert change == sorted(change)
    assert change[0] < change[1]


def test_the_hottest_area_has_the_weight_of_the_hottest_colour():
    gray = np.full((8, 8, 3), 100, np.uint8)
    hottest = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1]

    result = blend(gray, np.ones((1, 1), np.float32))

    expected = np.round(100 * (1 - HOTTEST_WEIGHT) + hottest * HOTTEST_WEIGHT)
    np.testing.assert_array_equal(result[3, 3], expected)


def test_a_single_hot_cell_is_a_round_spot_within_the_range():
    heat = np.zeros((7, 7), np.float32)
    heat[3, 3] = 1

    result = blend(np.zeros((70, 70, 3), np.uint8), heat)

    assert result[35, 35].sum() > result[35, 42].sum() > result[35, 60].sum() == 0
    np.testing.assert_array_equal(result, result[::-1, ::-1])  # cubic overshoot is clipped to 0..1


@pytest.mark.parametrize("heat", [np.zeros((0, 3)), np.zeros((2, 2, 1)), np.zeros(4), np.float32(1)], ids=np.shape)
def test_arrays_other_than_maps_are_rejected(heat: NDArray[np.float64]):
    with pytest.raises(ValueError, match=r"expected a heat map float32\[h, w\]"):
        blend(np.zeros((4, 4, 3), np.uint8), np.asarray(heat, np.float32))


# Files


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_becomes_a_png_in_the_same_colours(suffix: str):
    data = cv2.imencode(suffix, quarters(300, 300)[..., ::-1])[1].tobytes()

    png = draw(data, COLD, spec("stretch"), max_pixels=90_000)

    assert png.startswith(b"\x89PNG")
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(np.array(corners(image), int), np.array(QUARTERS, int), atol=3)


def test_a_large_photo_is_drawn_small():
    data = cv2.imencode(".jpg", np.zeros((3000, 2000, 3), np.uint8))[1].tobytes()

    png = draw(data, COLD, spec("stretch"), max_pixels=10**7)

    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).shape == (512, 341, 3)


def test_a_file_that_cannot_be_decoded_raises_an_image_error():
    large = cv2.imencode(".png", np.zeros((11, 10), np.uint8))[1].tobytes()

    with pytest.raises(UnsupportedFormatError):
        draw(b"hello", COLD, spec("stretch"), max_pixels=100)
    with pytest.raises(TooManyPixelsError):
        draw(large, COLD, spec("stretch"), max_pixels=100)
