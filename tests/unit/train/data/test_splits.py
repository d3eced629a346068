"""Splits by content are complete, disjoint, in proportion and reproducible."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from train.data.contents import Content, read_contents
from train.data.examples import Example
from train.data.splits import MIN_GROUP, Parts, choose_together, deduplicate, split


def ignore(_name: str, _done: int, _total: int | None):
    pass


def examples_of(classes: list[tuple[int, ...]]) -> dict[str, Example]:
    contents = [str(number).encode() for number in range(len(classes))]
    return {
        hashlib.sha256(content).hexdigest(): Example(content, each, content.decode())
        for content, each in zip(contents, classes, strict=True)
    }


def contents_of(examples: list[Example]) -> list[Content]:
    return [Content(hashlib.sha256(example.data).hexdigest(), None) for example in examples]


def counts(part: Mapping[str, Example]) -> Counter[int]:
    return Counter(number for example in part.values() for number in example.classes)


def test_the_first_copy_is_used_and_further_copies_are_reported():
    examples = [Example(b"x", (0,), "a"), Example(b"y", (1,), "b"), Example(b"x", (0,), "c")]
    distinct, skipped = deduplicate(examples, contents_of(examples))

    assert [example.name for example in distinct.values()] == ["a", "b"]
    assert skipped == [("c", "is a copy of a")]


def test_copies_of_different_classes_are_all_skipped():
    examples = [Example(b"x", (0,), "a"), Example(b"x", (1,), "b"), Example(b"y", (1,), "c")]
    distinct, skipped = deduplicate(examples, contents_of(examples))

    assert [example.name for example in distinct.values()] == ["c"]
    assert skipped == [
        ("a", "is the same image as b, but has other classes"),
        ("b", "is the same image as a, but has other classes"),
    ]


def test_an_unreadable_file_is_skipped(tmp_path: Path):
    examples = [Example(tmp_path / "gone.jpg", (0,), "gone.jpg"), Example(b"y", (1,), "b")]
    distinct, skipped = deduplicate(examples, read_contents(examples, tmp_path / "contents.json", ignore))

    assert [example.name for example in distinct.values()] == ["b"]
    assert skipped == [("gone.jpg", "cannot be read: No such file or directory")]


def test_each_class_contributes_its_shares():
    parts = split(examples_of([(0,)] * 100 + [(1,)] * 40 + [(2,)] * 20), 0.1, 0.2, seed=1)

    assert counts(parts.validation) == {0: 10, 1: 4, 2: 2}
    assert counts(parts.test) == {0: 20, 1: 8, 2: 4}
    assert counts(parts.train) == {0: 70, 1: 28, 2: 14}


def test_a_small_class_is_in_every_part():
    parts = split(examples_of([(0,)] * 100 + [(1,)] * 3), 0.1, 0.1, seed=1)
    assert [counts(part)[1] for part in parts] == [1, 1, 1]


def test_many_rare_combinations_contribute_their_shares_together():
    combinations = [tuple(bit for bit in range(7) if number >> bit & 1) for number in range(128)]
    parts = split(examples_of(combinations), 0.25, 0.25, seed=1)

    assert [len(part) for part in parts] == [64, 32, 32]
    for label in range(7):
        assert counts(parts.test)[label] == pytest.approx(16, abs=4)


@pytest.mark.parametrize(("validation", "test"), [(0.01, 0.01), (0.1, 0.2), (0.3, 0.15), (0.49, 0.49)])
def test_every_image_is_in_one_part_and_each_group_near_its_share(validation: float, test: float):
    sizes = [*range(40, 0, -1), *range(1, 41)]
    images = examples_of([(group,) for group, size in enumerate(sizes) for _ in range(size)])
    parts = split(images, validation, test, seed=1)

    assert sorted([*parts.train, *parts.validation, *parts.test]) == sorted(images)

    for group, size in enumerate(sizes):
        assert abs(counts(parts.validation)[group] - size * validation) < 1
        assert abs(counts(parts.test)[group] - size * test) < 1
        if size >= MIN_GROUP:
            assert all(counts(part)[group] for part in parts)


def names(parts: Parts) -> list[list[str]]:
    return [sorted(example.name for example in part.values()) for part in parts]


def test_a_split_depends_only_on_seed_and_content():
    images = examples_of([(number % 3,) for number in range(60)])
    backwards = dict(reversed(images.items()))

    assert names(split(images, 0.2, 0.2, seed=1)) == names(split(backwards, 0.2, 0.2, seed=1))
    assert names(split(images, 0.2, 0.2, seed=1)) != names(split(images, 0.2, 0.2, seed=2))


def test_an_additional_image_moves_few_others():
    images = examples_of([(number % 3,) for number in range(301)])
    before = split(dict(list(images.items())[:300]), 0.2, 0.2, seed=1)
    after = split(images, 0.2, 0.2, seed=1)
    moved = sum(len(old.keys() - new.keys()) for old, new in zip(before, after, strict=True))

    assert moved <= 6


def test_groups_stay_together_and_parts_keep_their_sizes():
    images = examples_of([(number % 2,) for number in range(200)])
    digests = sorted(images)
    groups = [tuple(digests[start : start + 4]) for start in range(0, 100, 4)]
    parts = split(images, 0.15, 0.15, 1, groups)

    assert [len(part) for part in parts] == pytest.approx([140, 30, 30], abs=3)
    for group in groups:
        assert any(set(group) <= part.keys() for part in parts)


def test_images_without_near_duplicates_mostly_keep_their_part():
    images = examples_of([(0,)] * 200)
    group = tuple(sorted(images)[:3])
    before, after = split(images, 0.2, 0.2, 1), split(images, 0.2, 0.2, 1, [group])
    moved = [
        digest
        for part, other in zip(before, after, strict=True)
        for digest in part
        if digest not in other and digest not in group
    ]

    assert len(moved) <= 6


def test_a_class_of_groups_alone_is_in_every_part():
    images = examples_of([(0,)] * 30 + [(1,)] * 15)
    digests = [digest for digest, example in images.items() if example.classes == (1,)]
    parts = split(images, 0.1, 0.1, 1, [tuple(digests[start : start + 5]) for start in (0, 5, 10)])

    assert [counts(part)[1] for part in parts] == [5, 5, 5]


@pytest.mark.parametrize(
    ("groups", "together"),
    [
        ([range(3)], [0]),
        ([range(6)], []),  # more than half of class 0
        ([range(5), range(5, 10)], []),  # no third part of class 0
        ([range(5), range(5, 9)], [0, 1]),
        ([range(8, 12)], [0]),  # of two classes
    ],
)
def test_groups_that_are_most_of_a_class_are_divided(groups: list[range], together: list[int]):
    images = examples_of([(0,)] * 10 + [(1,)] * 10)
    digests = list(images)
    named = [tuple(digests[number] for number in group) for group in groups]

    assert choose_together(named, images) == (
        [named[number] for number in together],
        [group for number, group in enumerate(named) if number not in together],
    )
