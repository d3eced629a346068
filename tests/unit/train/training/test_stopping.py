"""Early stopping: patience counts from the best epoch of a stage, also when a run is resumed."""

from pathlib import Path

import keras
import pytest

from train.training.stopping import BEST_FILE, EarlyStopping


def saved_weights(run: Path) -> list[keras.Variable]:
    """Save the weights of the best epoch, and return their variables."""
    weights = [keras.Variable(1.0)]
    EarlyStopping(run, 1, []).record(0.1, weights)
    return weights


@pytest.mark.parametrize(
    ("losses", "should_stop"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.6], False),
        ([0.5, 0.6, 0.5], True),
        ([0.5, 0.6, 0.4], False),
        ([0.5, 0.4, 0.6, 0.7], True),
    ],
)
def test_patience_counts_from_the_best_epoch(tmp_path: Path, losses: list[float], *, should_stop: bool):
    assert EarlyStopping(tmp_path, 2, losses).should_stop == should_stop

    stopping = EarlyStopping(tmp_path, 2, [])
    for loss in losses:
        stopping.record(loss, [])

    assert stopping.should_stop == should_stop


def test_without_patience_a_run_never_stops_and_saves_no_weights(tmp_path: Path):
    stopping = EarlyStopping(tmp_path, None, [])
    for loss in (0.5, 0.6, 0.7, 0.8):
        stopping.record(loss, [])
    stopping.end_stage([])

    assert not stopping.should_stop
    assert not (tmp_path / BEST_FILE).exists()


@pytest.mark.parametrize(("losses", "should_stop"), [([], False), ([0.9, 0.8], False), ([0.9, 0.8, 0.9, 0.9], True)])
def test_each_stage_has_its_own_patience(tmp_path: Path, losses: list[float], *, should_stop: bool):
    stopping = EarlyStopping(tmp_path, 2, [0.1, 0.2, 0.3])
    stopping.end_stage(saved_weights(tmp_path))
    for loss in losses:
        stopping.record(loss, [])

    assert stopping.should_stop == should_stop
    assert EarlyStopping(tmp_path, 2, [0.1, 0.2, 0.3, *losses], finished=3).should_stop == should_stop


def test_a_stage_ends_with_the_best_weights_of_all_stages_so_far(tmp_path: Path):
    weight = keras.Variable(0.0)
    stopping = EarlyStopping(tmp_path, 2, [])
    ends = []
    for losses in ((0.5, 0.4, 0.6), (0.7, 0.8), (0.9, 0.3)):
        for loss in losses:
            weight.assign(loss)
            stopping.record(loss, [weight])
        stopping.end_stage([weight])
        ends.append(float(weight))

    assert ends == pytest.approx([0.4, 0.4, 0.3])
