import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.card import InputSpec
from vision.ink import fit_ink, has_light_background
from vision.preprocess import preprocess

# Corners of a seven on a unit square.
SEVEN = np.array([(0.15, 0.0), (0.85, 0.0), (0.4, 1.0)])
SPEC = InputSpec(
    height=28, width=28, color="GRAY", resize="fit_ink", interpolation="area", invert_light_background=True
)


def draw_seven(
    stroke: int,
    side: float = 200,
    offset: tuple[float, float] = (50, 90),
    size: tuple[int, int] = (400, 300),
    shades: tuple[int, int] = (255, 0),
) -> np.ndarray:
    """Draw a seven of `side` pixels at `offset` (x, y) on a sheet of `size`, in `shades` of (paper, ink)."""
    paper, ink = shades
    sheet = np.full((*size, 3), paper, np.uint8)
    points = np.rint((SEVEN * side + offset) * 16).astype(np.int32)
    return cv2.polylines(
        sheet, [points[:, None]], isClosed=False, color=(ink,) * 3, thickness=stroke, lineType=cv2.LINE_AA, shift=4
    )


def box_of(result: np.ndarray, level: int = 64) -> tuple[int, int]:
    mask = result.reshape(result.shape[0], result.shape[1]) >= level
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def centre_of(result: np.ndarray) -> tuple[float, float]:
    moments = cv2.moments(np.ascontiguousarray(result.reshape(result.shape[0], result.shape[1])))
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


@pytest.mark.parametrize("stroke", [1, 2, 5, 12])
def test_a_drawing_fills_twenty_pixels_and_is_centred(stroke):
    for side, offset in ((200, (50, 90)), (60, (10, 20)), (60, (200, 320)), (230, (60, 20))):
        result = preprocess(draw_seven(stroke, side, offset), SPEC)

        case = f"side {side}, offset {offset}"
        assert result.shape == (28, 28, 1)
        assert 18 <= max(box_of(result)) <= 20, case
        assert centre_of(result) == pytest.approx((13.5, 13.5), abs=0.75), case
        assert result.max() >= 200, case
        assert result[0, 0, 0] == 0, case


def test_hairlines_and_bold_strokes_become_similar():
    thin, medium, bold = (preprocess(draw_seven(stroke), SPEC).astype(int) for stroke in (1, 8, 24))

    assert np.abs(thin - medium).mean() < 12
    assert 0.5 < thin.sum() / medium.sum() < 1.5
    assert medium.sum() < bold.sum()


@settings(max_examples=40, deadline=None)
@given(
    stroke=st.integers(1, 14),
    side=st.floats(70, 200),
    offset=st.tuples(st.floats(20, 80), st.floats(20, 180)),
    shades=st.sampled_from([(255, 0), (0, 255), (230, 60), (40, 130), (160, 90)]),
)
def test_position_size_and_shades_make_little_difference(stroke, side, offset, shades):
    reference = preprocess(draw_seven(10), SPEC).astype(int)

    result = preprocess(draw_seven(stroke, side, offset, shades=shades), SPEC).astype(int)

    assert np.abs(result - reference).mean() < 25
    assert np.corrcoef(result.ravel(), reference.ravel())[0, 1] > 0.5


@pytest.mark.parametrize("background", [0, 255])
def test_a_digit_of_the_right_size_is_at_most_inverted(background):
    digit = cv2.resize(draw_seven(16, shades=(0, 255)), (28, 28), interpolation=cv2.INTER_AREA)

    result = preprocess(digit if background == 0 else 255 - digit, SPEC)

    assert np.array_equal(result[..., 0], digit[..., 0])


@pytest.mark.parametrize("shade", [0, 20, 130, 255])
def test_a_blank_sheet_has_no_ink(shade):
    assert not preprocess(np.full((40, 50, 3), shade, np.uint8), SPEC).any()


def test_faint_noise_is_not_ink():
    paper = np.random.default_rng(0).integers(235, 256, (200, 200, 1), dtype=np.uint8).repeat(3, axis=2)

    assert not preprocess(paper, SPEC).any()


def test_a_photo_of_paper_resembles_a_scan():
    rng = np.random.default_rng(1)
    light = np.linspace(-25, 25, 300)[None, :, None] + np.linspace(-15, 15, 400)[:, None, None]
    photo = 70 + draw_seven(5) * 0.5 + light + rng.normal(0, 5, (400, 300, 1))

    result = preprocess(np.clip(photo, 0, 255).astype(np.uint8), SPEC).astype(int)

    reference = preprocess(draw_seven(5), SPEC).astype(int)
    assert np.corrcoef(result.ravel(), reference.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (3000, 2), (2, 2)])
def test_sheets_of_unusual_sizes_are_fitted(size):
    sheet = np.zeros(size, np.uint8)
    sheet[size[0] // 2, size[1] // 2] = 255

    assert fit_ink(sheet, 28, 28, cv2.INTER_AREA).shape == (28, 28)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 90)] * 2),
    target=st.tuples(*[st.integers(1, 40)] * 2),
    share=st.sampled_from([0.001, 0.1, 0.5]),
    seed=st.integers(0, 99),
)
def test_any_scribble_has_the_right_shape(size, target, share, seed):
    rng = np.random.default_rng(seed)
    sheet = np.where(rng.random(size) < share, rng.integers(0, 256, size), 0).astype(np.uint8)

    result = fit_ink(sheet, *target, cv2.INTER_AREA)

    assert (result.shape, result.dtype) == (target, np.uint8)


def test_dots_far_apart_on_a_large_sheet_are_fitted():
    """Averaged over the working size, they almost vanish."""
    sheet = np.zeros((4_000, 4_000), np.uint8)
    sheet[[100, 3_900], [100, 3_900]] = 255

    assert fit_ink(sheet, 28, 28, cv2.INTER_AREA).shape == (28, 28)


@pytest.mark.parametrize(("shade", "is_light"), [(0, False), (127, False), (128, True), (255, True)])
def test_border_above_mid_gray_is_a_light_background(shade, is_light):
    sheet = np.full((32, 32), shade, np.uint8)
    sheet[4:28, 4:28] = 255 - shade

    assert has_light_background(sheet) is is_light
