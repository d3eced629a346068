"""An evaluation warns of figures that rest on little, and of classes that a model does not know."""

from typing import Any

import pytest

from train.evaluation.cautions import list_warnings


def summary(images: int = 100, recall: float | None = 1.0, **members: Any) -> dict[str, Any]:
    per_class = [{"class": "apple", "images": 9, "recall": 1.0}, {"class": "pear", "images": 3, "recall": recall}]
    return {"per_class": per_class, "validation": {"images": images}, "abstain_below": 0.5} | members


def test_good_figures_need_no_warning():
    assert list_warnings(summary(), 0.99) == []


def test_a_class_that_is_never_recognised_is_named():
    (warning,) = list_warnings(summary(recall=0.0), 0.99)

    assert warning.startswith("pear: none of 3 test images recognised")


def test_a_class_without_test_images_is_not_called_unrecognised():
    assert list_warnings(summary(recall=None), 0.99) == []


def test_a_class_without_test_images_is_named():
    values = summary()
    values["per_class"].append({"class": "fig", "images": 0, "recall": None})

    (warning,) = list_warnings(values, 0.99)

    assert warning.startswith("fig: no test image")


@pytest.mark.parametrize(("images", "beginning"), [(99, "only 99 validation images"), (1, "only 1 validation image:")])
def test_few_validation_images_are_counted(images: int, beginning: str):
    (warning,) = list_warnings(summary(images), 0.99)

    assert warning.startswith(beginning)


@pytest.mark.parametrize(("accuracy", "count"), [(0.99, "100 answered"), (0.9, "10 answered"), (1.0, "more answered")])
def test_a_missing_threshold_for_abstaining_is_explained(accuracy: float, count: str):
    values = summary()
    del values["abstain_below"]

    (warning,) = list_warnings(values, accuracy)

    assert f"{accuracy:g} takes {count} validation images" in warning


def test_a_model_that_abstains_by_another_score_needs_no_threshold():
    values = summary()
    del values["abstain_below"]

    assert list_warnings(values, None) == []


def test_a_multilabel_model_does_not_abstain():
    values = summary(thresholds=[0.5, 0.5])
    del values["abstain_below"]

    assert list_warnings(values, 0.99) == []
