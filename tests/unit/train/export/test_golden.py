"""Golden images are read back as they were written, and one is chosen for each class."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.examples import Example
from train.evaluation.evaluate import Evaluation
from train.export.golden import (
    FOLDER,
    INDEX,
    MAX_IMAGES,
    Golden,
    GoldenError,
    choose_golden,
    golden_evaluation,
    read_golden,
    write_golden,
)


def encode(suffix: str, value: int) -> bytes:
    return cv2.imencode(suffix, np.full((4, 4, 3), value, np.uint8))[1].tobytes()


GOLDENS = [
    Golden(Example(encode(".png", 10), (1,), "00.png"), np.array([0.1, 0.9], np.float32)),
    Golden(Example(encode(".jpg", 200), (0,), "01.jpeg"), np.array([1 / 3, 2 / 3], np.float32)),
]


def test_images_and_probabilities_are_read_back_exactly(tmp_path: Path):
    write_golden(tmp_path, GOLDENS, ("a", "b"))

    goldens = read_golden(tmp_path)

    assert [golden.example for golden in goldens] == [golden.example for golden in GOLDENS]
    for golden, original in zip(goldens, GOLDENS, strict=True):
        np.testing.assert_array_equal(golden.probabilities, original.probabilities)
        assert golden.probabilities.dtype == np.float32


def test_the_files_are_named_after_their_formats(tmp_path: Path):
    write_golden(tmp_path, GOLDENS, ("a", "b"))

    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["00.png", "01.jpeg", INDEX]


def test_the_recorded_probabilities_are_an_evaluation():
    evaluation = golden_evaluation(GOLDENS)

    assert evaluation.true_classes.tolist() == [1, 0]
    assert evaluation.accuracy == 0.5


def test_images_of_several_classes_or_none_are_read_back(tmp_path: Path):
    goldens = [
        Golden(Example(encode(".png", 10), (0, 2), "00.png"), np.array([0.9, 0.1, 0.8], np.float32)),
        Golden(Example(encode(".png", 20), (), "01.png"), np.array([0.1, 0.1, 0.2], np.float32)),
    ]
    write_golden(tmp_path, goldens, ("a", "b", "c"))

    read = read_golden(tmp_path)

    assert [golden.example for golden in read] == [golden.example for golden in goldens]
    evaluation = golden_evaluation(read, np.array([0.5, 0.05, 0.5], np.float32))
    assert evaluation.targets.tolist() == [[True, False, True], [False, False, False]]
    assert evaluation.decisions.tolist() == [[True, True, True], [False, True, False]]


def make_examples(classes: list[tuple[int, ...]]) -> list[Example]:
    """Examples whose data is their position."""
    return [Example(bytes([number]), true_classes) for number, true_classes in enumerate(classes)]


def test_one_image_of_each_class_is_chosen_correctly_classified_if_possible():
    examples = make_examples([(2,), (0,), (2,), (0,), (3,)])
    targets = np.eye(4, dtype=bool)[[2, 0, 2, 0, 3]]
    evaluation = Evaluation(np.eye(4, dtype=np.float32)[[0, 0, 2, 0, 0]], targets)

    chosen = choose_golden(examples, evaluation)

    assert [example.data for example in chosen] == [b"\x01", b"\x02", b"\x04"]


def test_an_image_of_several_classes_is_chosen_once():
    examples = make_examples([(0, 1), (1,), (2,)])
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    evaluation = Evaluation(targets.astype(np.float32), targets, np.full(3, 0.5, np.float32))

    chosen = choose_golden(examples, evaluation)

    assert [example.data for example in chosen] == [b"\x00", b"\x02"]


def test_the_number_of_golden_images_is_limited():
    examples = make_examples([(number,) for number in range(MAX_IMAGES + 5)])
    evaluation = Evaluation(np.eye(MAX_IMAGES + 5, dtype=np.float32), np.eye(MAX_IMAGES + 5, dtype=bool))

    assert choose_golden(examples, evaluation) == examples[:MAX_IMAGES]


def remove_index(folder: Path) -> None:
    (folder / INDEX).unlink()


def break_json(folder: Path) -> None:
    (folder / INDEX).write_text("{")


def remove_probabilities(folder: Path) -> None:
    (folder / INDEX).write_text('{"images": [{"file": "00.png"}]}')


def remove_image(folder: Path) -> None:
    (folder / "01.jpeg").unlink()


@pytest.mark.parametrize("damage", [remove_index, break_json, remove_probabilities, remove_image])
def test_golden_images_that_cannot_be_read_are_refused_with_their_folder(
    tmp_path: Path, damage: Callable[[Path], None]
):
    write_golden(tmp_path, GOLDENS, ("a", "b"))
    damage(tmp_path / FOLDER)

    with pytest.raises(GoldenError, match=f"{FOLDER}: the golden images cannot be read"):
        read_golden(tmp_path)
