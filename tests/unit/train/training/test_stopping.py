"""Early stopping: patience counts from the best epoch, also when a run is resumed."""

from pathlib import Path

import pytest

from train.training.stopping import BEST_FILE, EarlyStopping


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
    stopping.restore([])

    assert not stopping.should_stop
    assert not (tmp_path / BEST_FILE).exists()
