"""Labels that were changed are found among those that were not."""

from pathlib import Path

import numpy as np
import pytest

from train.curation.label_errors import find_label_errors, number_groups
from train.data.examples import Example
from train.data.image_loading import load
from train.errors import TrainError
from vision.card import InputSpec

WEATHER = Path(__file__).parents[4] / "../shared/data/weather4"


def clusters(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return float32[N, 8] features around a centre for each class."""
    return (rng.normal(0, 4, (classes.max() + 1, 8))[classes] + rng.normal(0, 1, (len(classes), 8))).astype(np.float32)


def one_hot(classes: np.ndarray) -> np.ndarray:
    return np.eye(classes.max() + 1, dtype=np.float32)[classes]


def change(classes: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, set[int]]:
    """Change the classes of a share of the images; return all classes, and the images that were changed."""
    count = classes.max() + 1
    changed = rng.choice(len(classes), round(share * len(classes)), replace=False)
    given = classes.copy()
    given[changed] = (given[changed] + rng.integers(1, count, len(changed))) % count
    return given, set(changed.tolist())


def test_changed_classes_are_found_with_the_true_ones():
    rng = np.random.default_rng(1)
    classes = np.arange(300) % 3
    given, changed = change(classes, 0.05, rng)
    errors = find_label_errors(clusters(classes, rng), one_hot(given), np.arange(300), multilabel=False, seed=1)

    assert {error.index for error in errors[:15]} == changed
    assert len(errors) <= 17
    assert all(error.suggested == (classes[error.index],) for error in errors[:15])
    assert all(error.probabilities.shape == (3,) for error in errors)


def test_changed_decisions_of_a_multilabel_set_are_found():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, (300, 2))
    features = (targets @ rng.normal(0, 4, (2, 8)) + rng.normal(0, 1, (300, 8))).astype(np.float32)
    given = targets.copy()
    changed = rng.choice(300, 15, replace=False)
    given[changed, 0] ^= 1
    errors = find_label_errors(features, given.astype(np.float32), np.arange(300), multilabel=True, seed=1)
    found = {error.index for error in errors}

    assert len(found & set(changed.tolist())) >= 14
    assert len(found) <= 20
    for error in errors:
        if error.index in changed:
            assert error.suggested == tuple(np.flatnonzero(targets[error.index]))


def test_correct_labels_are_not_listed():
    rng = np.random.default_rng(3)
    classes = np.arange(300) % 3

    assert (
        len(find_label_errors(clusters(classes, rng), one_hot(classes), np.arange(300), multilabel=False, seed=1)) <= 2
    )


def test_an_image_is_not_judged_by_its_near_duplicates():
    rng = np.random.default_rng(4)
    copies, classes = np.arange(200) < 10, (np.arange(200) < 40).astype(int)  # the first ten are of class 1, too
    features = rng.normal(0, 1, (200, 4)).astype(np.float32)
    features[:, 0] += 20 * copies
    listed = []
    for groups in (np.arange(200), np.where(copies, 0, np.arange(200))):
        errors = find_label_errors(features, one_hot(classes), groups, multilabel=False, seed=1)
        listed.append(sum(copies[error.index] for error in errors))

    assert listed[0] == 0
    assert listed[1] > 0


def test_a_class_with_one_image_is_refused():
    classes = np.array([0] * 10 + [1, 1])
    with pytest.raises(TrainError, match="expected at least two different images of each class"):
        find_label_errors(
            np.zeros((12, 2), np.float32), one_hot(classes), np.array([*range(10), 10, 10]), multilabel=False, seed=1
        )


def test_images_of_a_group_have_the_same_number():
    examples = [Example(b"", (0,), name) for name in "abcd"]
    numbers = number_groups(examples, [(examples[1], examples[3])])

    assert numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3


@pytest.mark.skipif(not WEATHER.is_dir(), reason="the weather photos are not beside the repository")
def test_most_changed_labels_of_real_photos_are_found_by_their_colours_alone():
    spec = InputSpec(height=8, width=8, resize="stretch", interpolation="area")
    paths = sorted(path for path in WEATHER.glob("*/*") if path.is_file())
    labels = sorted({path.parent.name for path in paths})
    classes = np.array([labels.index(path.parent.name) for path in paths])
    given, changed = change(classes, 0.05, np.random.default_rng(1))
    pixels = np.array([load(path.read_bytes(), spec).ravel() for path in paths], np.float32)
    errors = find_label_errors(pixels, one_hot(given), np.arange(len(paths)), multilabel=False, seed=1)
    found = [error for error in errors if error.index in changed]

    assert len(found) >= 0.75 * len(changed)
    assert np.mean([error.suggested == (classes[error.index],) for error in found]) >= 0.75
