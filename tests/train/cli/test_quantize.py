"""Precisions of a version, each measured in its own model server, and one of them as the next version."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.cli.quantize import VARIANTS, Row, Variant, print_rows
from train.data.examples import Inputs
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation
from train.export.export import export_network
from train.export.forms import Samples
from train.export.frozen_network import freeze_function, freeze_model
from train.export.golden import read_golden
from train.export.precision import ExportPrecision
from train.export.savedmodel import Version, VersionError, load_version
from train.networks.build import HEAD, POOL
from train.verification.measure import MIN_TICKS, Measurement, ServerError, measure, ms_per_image

KINDS = (
    lambda variant: variant == Variant(),
    lambda variant: variant.precision.compute == "bfloat16",
    lambda variant: variant.tflite == "int8",
)
"""What tells variants that are served in different ways; each server takes some seconds to start."""


@pytest.fixture(scope="module")
def large(version: Version, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version for the session's images whose weights are large enough to be compressed."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 64)(image)
    for _ in range(2):
        x = keras.layers.Conv2D(64, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(2, name=HEAD)(keras.layers.GlobalAveragePooling2D(name=POOL)(x))
    network = freeze_model(keras.Model(image, keras.layers.Softmax()(x)), version.card.input)
    examples = [golden.example for golden in read_golden(version.path)]
    base = tmp_path_factory.mktemp("large") / "shapes"
    return load_version(export_network(network, version.card, examples, base, network.predict).path)


@pytest.mark.timeout(600)
def test_each_variant_is_measured_in_a_server(
    large: Version, config_path: Path, config_document: dict, monkeypatch: pytest.MonkeyPatch
):
    variants = [next(filter(is_kind, VARIANTS)) for is_kind in KINDS]
    monkeypatch.setattr("train.cli.quantize.VARIANTS", variants)
    data = ["--data", config_document["data"]["directory"], "--config", str(config_path)]
    result = CliRunner().invoke(app, ["quantize", str(large.path), "--limit", "10", *data], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    assert "10 images" in result.output
    rows = [line.split() for line in result.output.splitlines() if "SavedModel" in line or "TFLite" in line]
    assert [tuple(row[:3]) for row in rows] == [variant.names for variant in variants], result.output


@pytest.mark.parametrize(("are_labelled", "column", "shares"), [(True, "right", 1), (False, "same class", 2)])
def test_images_without_labels_tell_agreement_instead_of_accuracy(
    capsys: pytest.CaptureFixture[str], *, are_labelled: bool, column: str, shares: int
):
    targets = np.eye(2, dtype=bool)[[0, 1]]
    agreeing, other = (np.array(values, np.float32) for values in ([[0.4, 0.6], [0.4, 0.6]], [[0.9, 0.1], [0.4, 0.6]]))
    rows = [
        Row(VARIANTS[0], 10, Measurement(probabilities, None, None), Evaluation(probabilities, targets))
        for probabilities in (agreeing, agreeing, other)
    ]
    inputs = Inputs(np.zeros((2, 8, 8, 1), np.uint8), targets.astype(np.float32))

    print_rows(rows, Samples(inputs, are_labelled=are_labelled))

    output = capsys.readouterr().out
    assert column in output
    assert output.count("100.00%") == shares  # right: the third; same class: the first two
    assert output.count("50.00%") == 3 - shares
    assert ("--data" in output) != are_labelled


@pytest.mark.timeout(600)
def test_a_version_is_written_in_another_form(large: Version, config_path: Path, config_document: dict):
    data = ["--data", config_document["data"]["directory"], "--config", str(config_path)]
    command = ["quantize", str(large.path), "--store", "int8", "--tflite", "int8", "--max-loss", "100", *data]
    result = CliRunner().invoke(app, command, catch_exceptions=False)

    assert result.exit_code == 0, result.output

    small = load_version(large.path.with_name("2"))

    assert small.card.provenance["weights"] == small.card.provenance["tflite"] == "int8"
    assert small.card.metrics["form"] == "tflite"
    assert small.card.metrics["validation"] == large.card.metrics["validation"]
    assert small.card.metrics["forms"]["tflite"]["images"] == small.card.metrics["images"] == 20

    graph = "saved_model.pb"

    assert (small.path / graph).stat().st_size < (large.path / graph).stat().st_size * 0.7  # the rest is not weights

    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    difference = np.abs(small.predict(images) - large.predict(images)).max()

    assert 0 < difference < 0.05
    assert set(small.loaded.signatures) == set(large.loaded.signatures)


@pytest.mark.timeout(600)
def test_a_version_that_is_written_without_data_keeps_its_temperature(large: Version, tmp_path: Path):
    version = shutil.copytree(large.path, tmp_path / "shapes" / "1")
    result = CliRunner().invoke(app, ["quantize", str(version), "--tflite", "float32"], catch_exceptions=False)

    written = load_version(tmp_path / "shapes" / "2")

    assert written.card.metrics.keys() == {"temperature", "form", "forms"}
    assert written.card.metrics["temperature"] == large.card.metrics["temperature"] != 1
    assert "Its card states no accuracy" in result.output


@pytest.mark.timeout(600)
def test_the_server_predicts_as_the_version_does_offline(large: Version):
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    measured = measure(large.path.parent, images, 5)

    np.testing.assert_allclose(measured.probabilities, load_version(large.path).predict(images), atol=1e-4)
    assert measured.single_ms is None or measured.single_ms >= 0


def test_a_time_of_few_clock_ticks_is_not_reported():
    assert ms_per_image(100, 100 + MIN_TICKS - 1, 3) is None
    assert ms_per_image(100, 100 + MIN_TICKS, 4) == pytest.approx(1000 * MIN_TICKS / os.sysconf("SC_CLK_TCK") / 4)
    assert ms_per_image(None, None, 4) is None


def test_a_foreign_version_is_refused(large: Version, tmp_path: Path):
    foreign = Version(large.path, large.card, object())

    with pytest.raises(VersionError, match="export it again"):
        _ = foreign.network

    with pytest.raises(VersionError, match="is not a version"):
        CliRunner().invoke(app, ["quantize", str(tmp_path)], catch_exceptions=False)


def test_a_version_that_computes_in_bfloat16_is_refused(large: Version, tmp_path: Path):
    examples = [golden.example for golden in read_golden(large.path)]
    half = freeze_function(large.network, large.card.input, ExportPrecision("bfloat16", "bfloat16"))
    path = export_network(half, large.card, examples, tmp_path / "shapes", large.predict).path

    with pytest.raises(TrainError, match="computes in bfloat16; expected"):
        CliRunner().invoke(app, ["quantize", str(path)], catch_exceptions=False)


def test_a_server_that_does_not_start_in_time_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.verification.measure.LOAD_TIMEOUT_S", 0.5)
    (tmp_path / "shapes").mkdir()

    with pytest.raises(ServerError, match="did not serve"):
        measure(tmp_path / "shapes", np.zeros((1, 28, 28, 1), np.uint8), 1)
