import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vision.card import InputSpec
from vision.errors import TooManyPixelsError, UnsupportedFormatError
from vision.heatmap import HOTTEST_WEIGHT, MAX_SIDE, MIN_SIDE, blend, draw, seen
from vision.preprocess import preprocess

COLD = np.zeros((2, 2), np.float32)


def spec(resize: str, height: int = 100, width: int = 100, **options: object) -> InputSpec:
    return InputSpec(height=height, width=width, resize=resize, **options)


def quarters(height: int, width: int) -> NDArray[np.uint8]:
    """Make a picture that is red, green, blue and white: top left, top right, bottom left, bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = 255
    return picture


def corners(picture: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    return [tuple(picture[row, column].tolist()) for row in (2, -3) for column in (2, -3)]


QUARTERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


# What was seen


@pytest.mark.parametrize(
    ("photo", "shown"),
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
def test_a_stretched_photo_is_shown_whole_in_its_own_proportions(photo: tuple[int, int], shown: tuple[int, int]):
    found = seen(np.full((*photo, 3), 77, np.uint8), spec("stretch"))
    assert found.shape == (*shown, 3)
    assert (found == 77).all()


def test_nothing_of_a_stretched_photo_is_left_out():
    assert corners(seen(quarters(300, 400), spec("stretch"))) == QUARTERS


@pytest.mark.parametrize(
    ("photo", "model", "shown"),
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
def test_the_middle_of_a_cropped_photo_is_shown(photo: tuple[int, int], model: tuple[int, int], shown: tuple[int, int]):
    assert seen(np.zeros((*photo, 3), np.uint8), spec("center_crop", *model)).shape == (*shown, 3)


def test_what_is_cropped_away_is_not_shown():
    photo = np.full((300, 500, 3), 9, np.uint8)
    photo[:, 100:400] = quarters(300, 300)
    assert corners(seen(photo, spec("center_crop"))) == QUARTERS


def test_bars_around_a_photo_are_shown():
    found = seen(quarters(200, 400), spec("letterbox", background=(10, 20, 30)))
    assert found.shape == (400, 400, 3)
    assert (found[:100] == (10, 20, 30)).all()
    assert (found[300:] == (10, 20, 30)).all()
    assert corners(found[100:300]) == QUARTERS


@pytest.mark.parametrize("photo", [(1, 5000), (5000, 1), (7, 3)], ids=str)
def test_a_photo_of_any_proportions_fits_between_bars(photo: tuple[int, int]):
    found = seen(np.zeros((*photo, 3), np.uint8), spec("letterbox", 64, 32))
    assert MIN_SIDE <= found.shape[0] <= MAX_SIDE
    assert found.shape[1] == found.shape[0] // 2


def test_of_a_drawing_the_models_own_input_is_shown():
    paper = np.full((400, 300, 3), 250, np.uint8)
    cv2.line(paper, (100, 50), (200, 350), (20, 20, 20), 20)
    options = {"color": "GRAY", "invert_light_background": True, "dtype": "float32", "mean": (33.0,), "std": (78.0,)}
    found = seen(paper, spec("fit_ink", 28, 28, **options))
    assert found.shape == (256, 256, 3)
    assert found[0, 0].tolist() == [0, 0, 0]  # light ink on a dark ground, as the model has it
    assert found.max() > 200
    assert (found[..., 0] == found[..., 2]).all()


def test_a_gray_models_photo_is_shown_in_colour():
    assert corners(seen(quarters(300, 300), spec("stretch", color="GRAY", invert_light_background=True))) == QUARTERS


@pytest.mark.parametrize("resize", ["stretch", "center_crop", "letterbox"])
def test_the_map_lies_over_what_the_model_saw_there(resize: str):
    """A map that is hot where the model's input is white heats what is white in the drawing."""
    photo = np.zeros((300, 500, 3), np.uint8)
    photo[100:200, 200:300] = 255
    model = spec(resize, 50, 50)
    hot = cv2.resize(preprocess(photo, model)[..., 0], (10, 10), interpolation=cv2.INTER_AREA)
    shown = seen(photo, model)
    changed = (blend(shown, hot.astype(np.float32) / 255) != shown).any(axis=2)
    white = shown[..., 0] > 127
    assert (changed & white).sum() > 0.9 * white.sum()


# The blend


def test_where_it_is_cold_the_picture_stays_as_it_was():
    picture = quarters(30, 40)
    before = picture.copy()
    np.testing.assert_array_equal(blend(picture, COLD), before)
    blend(picture, COLD + 1)
    np.testing.assert_array_equal(picture, before)


def test_the_hotter_the_more_of_the_colours_shows():
    gray = np.full((8, 8, 3), 100, np.uint8)
    change = [
        int(np.abs(blend(gray, np.full((3, 3), heat, np.float32)).astype(int) - 100).sum())
        for heat in (0, 0.25, 0.5, 1)
    ]
    assert change == sorted(change)
    assert change[0] < change[1]
    hottest = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1]
    wanted = np.round(100 * (1 - HOTTEST_WEIGHT) + hottest * HOTTEST_WEIGHT)
    np.testing.assert_array_equal(blend(gray, np.ones((1, 1), np.float32))[3, 3], wanted)


def test_a_single_hot_cell_is_a_round_spot_within_the_range():
    heat = np.zeros((7, 7), np.float32)
    heat[3, 3] = 1
    found = blend(np.zeros((70, 70, 3), np.uint8), heat)
    assert found[35, 35].sum() > found[35, 42].sum() > found[35, 60].sum() == 0
    np.testing.assert_array_equal(found, found[::-1, ::-1])  # its cubic slopes go neither below 0 nor above 1


@pytest.mark.parametrize("heat", [np.zeros((0, 3)), np.zeros((2, 2, 1)), np.zeros(4), np.float32(1)], ids=np.shape)
def test_what_is_no_map_is_refused(heat: NDArray[np.float64]):
    with pytest.raises(ValueError, match=r"expected a heat map float32\[h, w\]"):
        blend(np.zeros((4, 4, 3), np.uint8), np.asarray(heat, np.float32))


# From file to file


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_becomes_a_png_in_the_same_colours(suffix: str):
    data = cv2.imencode(suffix, quarters(300, 300)[..., ::-1])[1].tobytes()
    png = draw(data, COLD, spec("stretch"), max_pixels=90_000)
    assert png.startswith(b"\x89PNG")
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(np.array(corners(found), int), np.array(QUARTERS, int), atol=3)


def test_a_large_photo_is_drawn_small():
    data = cv2.imencode(".jpg", np.zeros((3000, 2000, 3), np.uint8))[1].tobytes()
    found = cv2.imdecode(np.frombuffer(draw(data, COLD, spec("stretch"), max_pixels=10**7), np.uint8), cv2.IMREAD_COLOR)
    assert found.shape == (512, 341, 3)


def test_a_bad_file_is_refused_as_by_the_decoder():
    with pytest.raises(UnsupportedFormatError):
        draw(b"hello", COLD, spec("stretch"), max_pixels=100)
    with pytest.raises(TooManyPixelsError):
        draw(cv2.imencode(".png", np.zeros((11, 10), np.uint8))[1].tobytes(), COLD, spec("stretch"), max_pixels=100)
