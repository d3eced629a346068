"""A run knows the images that it was trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from train.data.examples import Example, Splits
from train.errors import TrainError
from train.training.data_record import DATA_FILE, Reuse, find_reuse, recognise_images, record_data


def examples(*contents: str) -> list[Example]:
    return [Example(content.encode(), (0,)) for content in contents]


SPLITS = Splits(examples("a", "b", "c"), examples("d", "e"), examples("f", "g", "h"))


def test_images_that_have_become_test_or_validation_images_are_counted(tmp_path: Path):
    record_data(tmp_path, SPLITS, is_resumed=False)

    assert find_reuse(tmp_path, SPLITS) == []

    changed = Splits(examples("c", "new"), examples("a", "d", "f"), examples("b", "e", "g", "h"))

    assert find_reuse(tmp_path, changed) == [Reuse("validation", 1, 3), Reuse("test", 2, 4)]


def test_the_images_of_a_run_are_recognised_by_their_content(tmp_path: Path):
    record_data(tmp_path, SPLITS, is_resumed=False)
    (tmp_path / "earlier").mkdir()

    assert [*map(recognise_images(tmp_path), examples("a", "d", "f", "new"))] == [True, True, True, False]
    assert [*map(recognise_images(tmp_path / "earlier"), examples("a"))] == [False], "a run without a record"


def test_copies_that_a_published_data_set_has_in_both_parts_are_not_counted(tmp_path: Path):
    splits = replace(SPLITS, test=examples("a", "f"))
    record_data(tmp_path, splits, is_resumed=False)

    assert find_reuse(tmp_path, splits) == []


def test_images_that_an_earlier_network_has_learnt_from_are_counted(tmp_path: Path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for run in (first, second, third):
        run.mkdir()
    record_data(first, SPLITS, is_resumed=False)
    other_split = Splits(examples("d", "f"), examples("a", "e"), examples("b", "c", "g"))

    record_data(second, other_split, is_resumed=False, weights=first / "model.keras")
    record_data(
        third, Splits(examples("g"), examples("h"), examples("f")), is_resumed=False, weights=second / "model.keras"
    )

    assert find_reuse(second, other_split) == [Reuse("validation", 1, 2), Reuse("test", 2, 3)]
    assert find_reuse(third, replace(SPLITS, validation=[], test=examples("f", "z"))) == [Reuse("test", 1, 2)]


def test_the_published_weights_beside_no_record_add_nothing(tmp_path: Path):
    record_data(tmp_path, SPLITS, is_resumed=False, weights=Path("weights/published.pth"))

    assert find_reuse(tmp_path, SPLITS) == []


def test_a_run_without_a_record_is_not_judged(tmp_path: Path):
    assert find_reuse(tmp_path, SPLITS) == []


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_run_is_not_resumed_with_other_images(tmp_path: Path, part: str):
    record_data(tmp_path, SPLITS, is_resumed=False)
    record = (tmp_path / DATA_FILE).read_bytes()
    changed = {part: [*getattr(SPLITS, part)[1:], *examples("x", "y")]}

    with pytest.raises(TrainError, match=f"other {part} images: 2 are new and 1 are missing; restore the data set"):
        record_data(tmp_path, replace(SPLITS, **changed), is_resumed=True)

    record_data(tmp_path, replace(SPLITS, test=examples("z")), is_resumed=True)

    assert (tmp_path / DATA_FILE).read_bytes() == record


def test_a_new_run_replaces_the_record_of_one_that_was_killed_at_its_start(tmp_path: Path):
    record_data(tmp_path, replace(SPLITS, train=examples("x")), is_resumed=False)

    record_data(tmp_path, SPLITS, is_resumed=False)

    assert find_reuse(tmp_path, replace(SPLITS, test=examples("a", "x"))) == [Reuse("test", 1, 2)]


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"train": []})])
def test_a_damaged_record_is_reported(tmp_path: Path, content: str):
    (tmp_path / DATA_FILE).write_text(content)

    with pytest.raises(TrainError, match=r"data\.json is damaged; delete it"):
        find_reuse(tmp_path, SPLITS)
