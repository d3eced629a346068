"""Early stopping: patience counts from the best epoch, and a break changes nothing."""

from pathlib import Path

import pytest

from train.training.stopping import BEST_FILE, EarlyStopping


@pytest.mark.parametrize(
    ("losses", "over"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.6], False),
        ([0.5, 0.6, 0.5], True),
        ([0.5, 0.6, 0.4], False),
        ([0.5, 0.4, 0.6, 0.7], True),
    ],
)
def test_patience_counts_from_the_best_epoch(tmp_path: Path, losses: list[float], *, over: bool):
    assert EarlyStopping(tmp_path, 2, losses).over == over
    noted = EarlyStopping(tmp_path, 2, [])
    for loss in losses:
        noted.note(loss, [])
    assert noted.over == over


def test_without_patience_nothing_ends_and_nothing_is_kept(tmp_path: Path):
    stopping = EarlyStopping(tmp_path, None, [])
    for loss in (0.5, 0.6, 0.7, 0.8):
        stopping.note(loss, [])
    stopping.restore([])
    assert not stopping.over
    assert not (tmp_path / BEST_FILE).exists()
