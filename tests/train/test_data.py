"""A data set is split as its configuration says, or refused where the two do not fit."""

import copy
from typing import Any

import pytest

from train.config import Config
from train.data import load_splits
from train.source import DataError


def ignore(_name: str, _done: int, _total: int | None):
    pass


def test_validation_images_are_held_back_from_the_training_images(config_document: dict[str, Any]):
    config = Config.model_validate(config_document)
    splits = load_splits(config, ignore)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (64, 16, 20)
    assert splits == load_splits(config, ignore)


def test_more_classes_than_labels_are_refused(config_document: dict[str, Any]):
    config = Config.model_validate(config_document).model_copy(update={"labels": ("square",)})
    with pytest.raises(DataError, match="class 1 occurs in the data, but the configuration has 1 labels"):
        load_splits(config, ignore)


def test_more_validation_images_than_there_are_are_refused(config_document: dict[str, Any]):
    document = copy.deepcopy(config_document)
    document["data"]["validation"] = 80
    with pytest.raises(DataError, match=r"data\.validation: 80 images cannot be held back from 80"):
        load_splits(Config.model_validate(document), ignore)
