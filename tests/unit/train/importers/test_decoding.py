"""Photos are compared decoded at reduced size and in full."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import image_files as files
from train.importers.decoding import DecodingComparison, compare_decoding
from vision.card import InputSpec

SPEC = InputSpec(height=8, width=8, dtype="float32", mean=(0.0,) * 3, std=(255.0,) * 3)


def striped(side: int) -> np.ndarray:
    """Return white with every ninth column black: the ones that an input of a ninth of the size is sampled from."""
    image = np.full((side, side, 3), 255, np.uint8)
    image[:, 4::9] = 0
    return image


def plain(side: int) -> np.ndarray:
    return np.full((side, side, 3), 200, np.uint8)


def write(folder: Path, pictures: dict[str, bytes]) -> list[Path]:
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in pictures]


def tell_dark_from_light(inputs: np.ndarray) -> np.ndarray:
    """Return the probability that images are dark, and that they are light."""
    light = inputs.mean(axis=(1, 2, 3)) > 0.4
    return np.stack([np.where(light, 0.1, 0.75), np.where(light, 0.9, 0.25)], axis=1).astype(np.float32)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three large photos, one of which looks lighter at reduced size, and images that are not decoded so."""
    pictures = {
        "plain.jpg": files.encoded(plain(72), ".jpg"),
        "striped.jpg": files.encoded(striped(72), ".jpg"),
        "dark.jpg": files.encoded(plain(80) // 4, ".jpg"),
        "small.jpg": files.encoded(plain(9), ".jpg"),
        "large.png": files.encoded(plain(72), ".png"),
        "cut.jpg": files.encoded(plain(72), ".jpg")[:400],
        "notes.txt": b"no image",
    }
    return write(tmp_path, pictures)


def test_classes_and_probabilities_of_large_photos_are_compared(paths: list[Path]):
    comparison = compare_decoding(paths, SPEC, tell_dark_from_light)

    assert (comparison.image_count, comparison.photo_count) == (7, 3)
    assert comparison.same_class == pytest.approx(2 / 3)
    assert comparison.score_difference == pytest.approx(0.15 / 3, abs=1e-6)
    assert (comparison.accuracy_scaled, comparison.accuracy_full) == (None, None)
    assert comparison.recommended == "full"


def test_right_classes_decide_if_they_are_known(paths: list[Path]):
    dark, light = 0, 1
    full_is_right = compare_decoding(paths, SPEC, tell_dark_from_light, [light, dark, dark, 0, 0, 0, 0])
    scaled_is_right = compare_decoding(paths, SPEC, tell_dark_from_light, [light, light, dark, 0, 0, 0, 0])

    assert (full_is_right.accuracy_scaled, full_is_right.accuracy_full) == pytest.approx((2 / 3, 1))
    assert full_is_right.recommended == "full"
    assert (scaled_is_right.accuracy_scaled, scaled_is_right.accuracy_full) == pytest.approx((1, 2 / 3))
    assert scaled_is_right.recommended == "scaled"


def test_photos_of_all_batches_are_compared(tmp_path: Path):
    large, small = files.encoded(plain(72), ".jpg"), files.encoded(plain(9), ".jpg")
    paths = write(tmp_path, {f"{index}.jpg": large if index % 3 else small for index in range(40)})
    targets = [1 if index < 20 else 0 for index in range(40)]
    sizes: list[int] = []

    comparison = compare_decoding(
        paths, SPEC, lambda inputs: sizes.append(len(inputs)) or tell_dark_from_light(inputs), targets
    )

    assert comparison.photo_count == 26
    assert (comparison.accuracy_scaled, comparison.accuracy_full) == (0.5, 0.5)
    assert max(sizes) <= 16


def test_without_large_photos_it_makes_no_difference(paths: list[Path]):
    comparison = compare_decoding(paths[3:], SPEC, tell_dark_from_light, [0, 0, 0, 0])

    assert comparison == DecodingComparison(4, 0)
    assert comparison.recommended == "scaled"
    assert str(comparison) == "input.decoding makes no difference: none of 4 images is a JPEG of much larger size"


def test_each_image_needs_a_target(paths: list[Path]):
    with pytest.raises(ValueError, match="expected one target for each of 7 images, found 2"):
        compare_decoding(paths, SPEC, tell_dark_from_light, [0, 1])


@pytest.mark.parametrize(
    ("accuracies", "found", "advice"),
    [
        ((), "as in full", 'set input.decoding to "full" in the card to decode them as in training'),
        (
            (0.86, 0.93),
            "as in full (86.0% right, 93.0% in full)",
            'set input.decoding to "full" in the card to decode them as in training',
        ),
        (
            (0.93, 0.93),
            "as in full (93.0% right, 93.0% in full)",
            'input.decoding can be "scaled", which takes less time',
        ),
    ],
)
def test_one_line_says_what_was_found_and_what_to_do(accuracies: tuple[float, ...], found: str, advice: str):
    comparison = DecodingComparison(300, 121, 0.983, 0.02, *accuracies)

    assert str(comparison) == f"121 large photos: 98.3% the same class decoded at reduced size {found}; {advice}"
