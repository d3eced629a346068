"""Golden images are written and read back as they were."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.examples import Example
from train.evaluation.evaluate import Evaluation
from train.export.golden import FOLDER, INDEX, MOST, Golden, GoldenError, choose, evaluation, read_golden, write_golden


def encoded(suffix: str, value: int) -> bytes:
    return cv2.imencode(suffix, np.full((4, 4, 3), value, np.uint8))[1].tobytes()


GOLDENS = [
    Golden(Example(encoded(".png", 10), (1,), "00.png"), np.array([0.1, 0.9], np.float32)),
    Golden(Example(encoded(".jpg", 200), (0,), "01.jpeg"), np.array([1 / 3, 2 / 3], np.float32)),
]


def test_images_and_probabilities_come_back_exactly(tmp_path: Path):
    write_golden(tmp_path, GOLDENS, ("a", "b"))
    read = read_golden(tmp_path)
    assert [golden.example for golden in read] == [golden.example for golden in GOLDENS]
    for found, wanted in zip(read, GOLDENS, strict=True):
        np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
        assert found.probabilities.dtype == np.float32


def test_the_files_carry_their_formats_name(tmp_path: Path):
    write_golden(tmp_path, GOLDENS, ("a", "b"))
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["00.png", "01.jpeg", INDEX]


def test_what_training_noted_is_an_evaluation():
    noted = evaluation(GOLDENS)
    assert noted.labels.tolist() == [1, 0]
    assert noted.accuracy == 0.5


def test_images_of_several_classes_or_none_come_back_too(tmp_path: Path):
    several = [
        Golden(Example(encoded(".png", 10), (0, 2), "00.png"), np.array([0.9, 0.1, 0.8], np.float32)),
        Golden(Example(encoded(".png", 20), (), "01.png"), np.array([0.1, 0.1, 0.2], np.float32)),
    ]
    write_golden(tmp_path, several, ("a", "b", "c"))
    read = read_golden(tmp_path)
    assert [golden.example for golden in read] == [golden.example for golden in several]
    noted = evaluation(read, np.array([0.5, 0.05, 0.5], np.float32))
    assert noted.targets.tolist() == [[True, False, True], [False, False, False]]
    assert noted.decided.tolist() == [[True, True, True], [False, True, False]]


def numbered(classes: list[tuple[int, ...]]) -> list[Example]:
    return [Example(bytes([number]), right) for number, right in enumerate(classes)]


def test_one_image_of_each_class_is_chosen_and_a_right_one_if_there_is_one():
    examples = numbered([(2,), (0,), (2,), (0,), (3,)])
    right = np.eye(4, dtype=bool)[[2, 0, 2, 0, 3]]
    answered = Evaluation(np.eye(4, dtype=np.float32)[[0, 0, 2, 0, 0]], right)
    assert [example.data for example in choose(examples, answered)] == [b"\x01", b"\x02", b"\x04"]


def test_an_image_of_several_classes_is_chosen_once():
    examples = numbered([(0, 1), (1,), (2,)])
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    answered = Evaluation(targets.astype(np.float32), targets, np.full(3, 0.5, np.float32))
    assert [example.data for example in choose(examples, answered)] == [b"\x00", b"\x02"]


def test_a_handful_is_enough_however_many_classes_there_are():
    examples = numbered([(number,) for number in range(MOST + 5)])
    answered = Evaluation(np.eye(MOST + 5, dtype=np.float32), np.eye(MOST + 5, dtype=bool))
    assert choose(examples, answered) == examples[:MOST]


@pytest.mark.parametrize("damage", ["no index", "no json", "missing key", "missing image"])
def test_what_cannot_be_read_is_named(tmp_path: Path, damage: str):
    write_golden(tmp_path, GOLDENS, ("a", "b"))
    index = tmp_path / FOLDER / INDEX
    if damage == "no index":
        index.unlink()
    elif damage == "no json":
        index.write_text("{")
    elif damage == "missing key":
        index.write_text('{"images": [{"file": "00.png"}]}')
    else:
        (tmp_path / FOLDER / "01.jpeg").unlink()
    with pytest.raises(GoldenError, match="no golden images that can be read"):
        read_golden(tmp_path)
