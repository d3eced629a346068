"""The comparison of two runs has their figures, their different settings, and their learning curves."""

import dataclasses

from tests.support.assessments import multiclass_assessment
from train.evaluation.assessment import summarise
from train.evaluation.comparison import compare_results
from train.evaluation.predictions import ImageResult
from train.report.compare import EvaluatedRun, configuration_rows, metric_rows, render_comparison

LOG = [{"epoch": str(epoch), "loss": "1", "val_loss": str(2 - epoch), "val_accuracy": "0.5"} for epoch in range(2)]
RESULTS = {"a": ImageResult(correct=True, log_loss=0.1), "b": ImageResult(correct=False, log_loss=2.0)}


def two_runs() -> tuple[EvaluatedRun, EvaluatedRun]:
    assessment = multiclass_assessment()
    first = EvaluatedRun("runs/<a>", assessment.config, summarise(assessment), LOG)
    training = assessment.config.training.model_copy(update={"epochs": 99})
    config = assessment.config.model_copy(update={"training": training})
    return first, dataclasses.replace(first, name="runs/b", config=config, log=LOG[:1])


def test_only_settings_that_differ_are_listed():
    first, second = two_runs()

    (row,) = configuration_rows(first, second)

    assert (row.name, row.second) == ("training.epochs", "99")
    assert configuration_rows(first, first) == []


def test_equal_results_are_said_to_be_no_difference():
    rows = {row.name: row for row in metric_rows(*two_runs(), compare_results(RESULTS, RESULTS))}

    assert rows["accuracy"].first == rows["accuracy"].second == "0.8000 ± 0.0516"
    assert rows["accuracy of 2 images in both"].verdict == "+0.0000 ± 0.0000: no difference can be shown (p = 1)"


def test_runs_without_a_common_image_are_not_judged():
    row = metric_rows(*two_runs(), None)[-1]

    assert (row.name, row.first) == ("images in both", "0")
    assert "cannot be compared" in row.verdict


def test_the_better_run_is_named():
    results = {str(number): ImageResult(correct=True, log_loss=0.1) for number in range(9)}
    worse = {name: ImageResult(correct=False, log_loss=2.0) for name in results}

    accuracy, log_loss = metric_rows(*two_runs(), compare_results(worse, results))[-2:]

    assert "runs/b is better (p = 0.0039)" in accuracy.verdict
    assert "runs/b is better" in log_loss.verdict


def test_the_page_plots_both_logs_and_escapes_names():
    page = render_comparison(*two_runs(), compare_results(RESULTS, RESULTS))

    assert page.count("<figure") == 3  # val_loss, val_accuracy and loss; the log has no accuracy
    assert "runs/&lt;a&gt;: 2, 1" in page
    assert "runs/<a>" not in page
    assert "training.epochs" in page
