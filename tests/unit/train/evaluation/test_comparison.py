"""Two models are compared on the same images, and a difference is told only if chance does not explain it."""

import pytest

from train.evaluation.comparison import compare_results, mcnemar
from train.evaluation.predictions import ImageResult


def results(correct: list[bool], log_loss: list[float] | None = None) -> dict[str, ImageResult]:
    losses = log_loss or [0.1 if value else 1.0 for value in correct]
    return {str(number): ImageResult(*row) for number, row in enumerate(zip(correct, losses, strict=True))}


def test_the_exact_test_is_that_of_a_fair_coin():
    assert mcnemar(0, 0) == 1
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 3000) == 0


def test_a_model_that_is_right_on_six_more_images_is_better():
    first, second = results([True] * 90 + [False] * 10), results([True] * 96 + [False] * 4)

    comparison = compare_results(first, second)

    assert (comparison.images, comparison.accuracy.better) == (100, 2)
    assert comparison.accuracy.second - comparison.accuracy.first == pytest.approx(0.06)
    assert comparison.accuracy.standard_error == pytest.approx(0.0239, abs=1e-4)
    assert comparison.accuracy.p_value == pytest.approx(2 / 2**6)


def test_as_many_images_won_as_lost_are_no_difference():
    first = results([True] * 90 + [False] * 10)
    second = results([False] * 6 + [True] * 84 + [True] * 6 + [False] * 4)

    comparison = compare_results(first, second)

    assert comparison.accuracy.better is None
    assert comparison.log_loss.better is None


def test_a_lower_log_loss_is_better():
    first = results([True] * 4, [0.5, 0.6, 0.7, 0.8])
    second = results([True] * 4, [0.1, 0.1, 0.3, 0.4])

    comparison = compare_results(first, second)

    assert comparison.accuracy.better is None
    assert comparison.log_loss.better == 2
    assert compare_results(second, first).log_loss.better == 1


def test_only_images_that_both_models_have_seen_count():
    first = results([True, True, False])
    second = {"2": ImageResult(correct=True, log_loss=0.1), "9": ImageResult(correct=True, log_loss=0.1)}

    comparison = compare_results(first, second)

    assert comparison.images == 1
    assert (comparison.accuracy.first, comparison.accuracy.second) == (0, 1)
    assert comparison.log_loss.better is None
    assert compare_results(first, {"9": second["9"]}) is None
