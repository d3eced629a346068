"""The benchmark against Keras' guide to transfer learning trains the network of a configuration as the guide does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import transfer_guide


def test_the_guide_and_the_configuration_are_measured_on_the_same_images(
    config_document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(transfer_guide, "HEAD_EPOCHS", 1)
    monkeypatch.setattr(transfer_guide, "FINE_TUNING_EPOCHS", 1)
    path = tmp_path / "shapes.yaml"
    path.write_text(yaml.safe_dump(config_document))

    transfer_guide.main([str(path), "--seeds", "1"])

    header, _, guide, own = capsys.readouterr().out.strip().splitlines()
    assert header == "| change | accuracy | mean recall | calibration error | CPU seconds |"
    for name, row in {"Keras guide": guide, "fit": own}.items():
        label, accuracy, recall, error, cpu_s = (cell.strip().split()[0] for cell in row.strip("|").split("|", 4))
        assert label == name.split()[0]
        assert all(0 <= float(value) <= 1 for value in (accuracy, recall, error))
        assert float(cpu_s) > 0
