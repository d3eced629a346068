"""A version keeps the model contract, agrees with the network, and appears complete or not at all."""

import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfs_api.protos import prediction_log_pb2
from tfs_api.tensors import from_tensor_proto
from train.data.examples import DataError, Example, to_inputs
from train.export.export import CARD_FILE, ExportedVersion, ExportError, export_network
from train.export.frozen_network import freeze_model
from train.export.golden import FOLDER, Golden, read_golden
from train.export.savedmodel import Version, VersionError, list_versions, load_version, newest_version
from train.export.warmup import BATCH_SIZES, WARMUP_FILE
from train.networks.build import HEAD, POOL
from train.training.loop import predictor
from train.training.run import load_run
from train.verification.assess import set_temperature
from vision.card import Card


@pytest.fixture(scope="module")
def network(run: Path, version: Version) -> keras.Model:
    """The trained network at the temperature of the exported version."""
    model = load_run(run)[1]
    set_temperature(model, version.card.metrics["temperature"])
    return model


@pytest.fixture(scope="module")
def goldens(version: Version) -> list[Golden]:
    return read_golden(version.path)


@pytest.fixture(scope="module")
def images(version: Version, goldens: list[Golden]) -> np.ndarray:
    return to_inputs([golden.example for golden in goldens], version.card.input, len(version.card.labels)).images


def export(model: keras.Model, card: Card, examples: list[Example], base: Path) -> ExportedVersion:
    return export_network(freeze_model(model, card.input), card, examples, base, predictor(model))


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def call(version: Version, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    outputs = version.loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def test_signatures_match_the_model_contract(version: Version):
    signatures = {
        name: (
            {key: (spec.dtype, tuple(spec.shape)) for key, spec in function.structured_input_signature[1].items()},
            {key: (spec.dtype, tuple(spec.shape)) for key, spec in function.structured_outputs.items()},
        )
        for name, function in version.loaded.signatures.items()
    }
    image = (tf.uint8, (None, 28, 28, 1))
    probabilities = {"probabilities": (tf.float32, (None, 2))}

    assert signatures == {
        "serving_default": ({"image": image}, probabilities),
        "describe": ({"index": (tf.int32, (None,))}, {"card": (tf.string, (None,))}),
        "classify_bytes": ({"image_bytes": (tf.string, (None,))}, probabilities),
        "explain": (
            {"image": image, "class_id": (tf.int32, (None,))},
            {"heatmap": (tf.float32, (None, 14, 14))},
        ),
    }


def test_the_version_returns_the_probabilities_of_the_network(version: Version, network: keras.Model):
    batch = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), np.uint8)

    np.testing.assert_allclose(version.predict(batch), predictor(network)(batch), atol=1e-6)


def test_the_golden_images_are_one_of_each_class_with_the_probabilities_of_the_network(
    goldens: list[Golden], images: np.ndarray, version: Version, network: keras.Model
):
    recorded = np.stack([golden.probabilities for golden in goldens])

    assert [golden.example.classes for golden in goldens] == [(0,), (1,)]
    np.testing.assert_array_equal(predictor(network)(images), recorded)
    np.testing.assert_allclose(version.predict(images), recorded, atol=1e-6)


def test_describe_returns_the_card_once_per_row(version: Version):
    cards = call(version, "describe", index=np.array([5, -1, 0], np.int32))["card"]

    assert len(cards) == 3
    assert all(Card.from_json(card) == version.card for card in cards)


def test_a_copy_of_the_card_is_stored_beside_the_graph(version: Version):
    assert Card.from_json((version.path / CARD_FILE).read_bytes()) == version.card


def test_the_card_contains_metrics_and_provenance(version: Version, run: Path):
    card = version.card

    assert (card.name, card.title, card.labels) == ("shapes", "Two shapes", ("square", "bar"))
    assert card.input == load_run(run)[0].input
    assert card.output.activation == "none"
    assert card.metrics["images"] == 20
    assert 0 <= card.metrics["accuracy"] <= 1
    assert card.provenance["architecture"] == "small_cnn"
    assert card.provenance["configuration"]["training"]["epochs"] == 2
    assert card.provenance["data"]["licence"] == "CC BY-SA 3.0"
    assert card.provenance["licence"] == load_run(run)[0].licence


def test_classify_bytes_returns_the_same_probabilities(version: Version, goldens: list[Golden]):
    data = np.array([golden.example.data for golden in goldens], object)

    probabilities = call(version, "classify_bytes", image_bytes=data)["probabilities"]

    np.testing.assert_allclose(probabilities, np.stack([golden.probabilities for golden in goldens]), atol=1e-6)


@pytest.mark.parametrize("class_id", [0, 1])
def test_a_heat_map_contains_the_contribution_of_each_position(
    version: Version, network: keras.Model, images: np.ndarray, class_id: int
):
    features = keras.Model(network.input, network.get_layer(POOL).input)(images.astype(np.float32)).numpy()
    contributions = np.maximum(features @ network.get_layer(HEAD).kernel.numpy()[:, class_id], 0)
    maximum = contributions.max(axis=(1, 2), keepdims=True)
    expected = np.divide(contributions, maximum, out=np.zeros_like(contributions), where=maximum > 0)

    heatmap = call(version, "explain", image=images, class_id=np.full(len(images), class_id, np.int32))["heatmap"]

    np.testing.assert_allclose(heatmap, expected, atol=1e-5)


def test_a_class_that_does_not_exist_is_an_error(version: Version, images: np.ndarray):
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(version, "explain", image=images[:1], class_id=np.array([2], np.int32))


WRONG_RANKS = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

values = {"image": np.uint8([1]), "class_id": np.int32(0), "index": np.int32(0), "image_bytes": np.array(b"", object)}
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signatures = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def
    for name in ("classify_bytes", "describe", "explain", "serving_default"):
        inputs, outputs = signatures[name].inputs, signatures[name].outputs
        feed, fetch = ([info.name for info in infos.values()] for infos in (inputs, outputs))
        # Like the server, a callable does not compare the shapes of what it is fed.
        call = session._make_callable_from_options(config_pb2.CallableOptions(feed=feed, fetch=fetch))
        try:
            call(*(values[key] for key in inputs))
        except tf.errors.InvalidArgumentError as error:
            print(name, "is not compatible with expected shape" in str(error))
"""


@pytest.mark.timeout(600)  # TensorFlow is imported once more
def test_every_signature_refuses_an_input_of_another_rank_before_it_computes(version: Version):
    command = [sys.executable, "-c", WRONG_RANKS, str(version.path)]  # without the check, TensorFlow ends the process

    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [
        "classify_bytes True",
        "describe True",
        "explain True",
        "serving_default True",
    ]


def test_the_warm_up_file_contains_a_valid_request_per_signature_and_batch_size(version: Version):
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        for record in tf.data.TFRecordDataset(str(version.path / WARMUP_FILE))
    ]
    outputs = set()
    for request in requests:
        assert request.model_spec.name == "shapes"
        inputs = {name: from_tensor_proto(proto) for name, proto in request.inputs.items()}
        signature = request.model_spec.signature_name
        outputs |= {(signature, len(output)) for output in call(version, signature, **inputs).values()}

    assert outputs == {(name, size) for name in ("serving_default", "describe", "explain") for size in BATCH_SIZES}


def test_a_write_that_fails_names_the_version_and_leaves_no_folder(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fill_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("train.export.export.write_graph", fill_disk)
    base = tmp_path / "shapes"

    with pytest.raises(OSError, match=r"No space left on device: '.*/shapes/1\.tmp'"):
        export(network, version.card, [golden.example for golden in goldens], base)

    assert not base.exists()


def test_an_export_gets_the_next_number_and_overwrites_nothing(
    models: Path, network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    base = tmp_path / "shapes"
    (base / "7").mkdir(parents=True)
    (base / "7" / "mine").write_text("untouched")
    (base / "notes").mkdir()

    exported = export(network, version.card, [golden.example for golden in goldens], base)

    assert exported.path == base / "8"
    assert 0 <= exported.largest_difference < 1e-5
    assert sorted(path.name for path in base.iterdir()) == ["7", "8", "notes"]
    assert hash_files(base / "7") == {"mine": hashlib.sha256(b"untouched").hexdigest()}
    assert newest_version(base) == base / "8"
    assert set(list_versions(models / "shapes")) == {1}


def with_nan_weights(network: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(network)
    copy.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    return copy


def test_a_network_that_returns_nan_is_not_exported(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    with pytest.raises(ExportError, match="differs by nan"):
        export(with_nan_weights(network), version.card, [golden.example for golden in goldens], tmp_path / "shapes")

    assert not (tmp_path / "shapes").exists()


def test_a_failure_during_the_export_leaves_nothing(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    invalid_card = dataclasses.replace(version.card, metrics={"accuracy": float("nan")})

    with pytest.raises(ValueError, match="JSON"):
        export(network, invalid_card, [golden.example for golden in goldens], tmp_path / "shapes")

    assert not (tmp_path / "shapes").exists()


def test_another_running_export_is_left_alone(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    (tmp_path / "1.tmp").mkdir()
    (tmp_path / "1.tmp" / "half").write_text("")

    exported = export(network, version.card, [golden.example for golden in goldens], tmp_path)

    assert exported.path == tmp_path / "2"
    assert [path.name for path in (tmp_path / "1.tmp").iterdir()] == ["half"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.tmp", "2"]


def test_an_unreadable_golden_image_is_refused_before_anything_is_written(
    network: keras.Model, version: Version, tmp_path: Path
):
    with pytest.raises(DataError, match=r"^a\.png: the image is in none of the accepted formats"):
        export(network, version.card, [Example(b"text", (0,), "a.png")], tmp_path / "shapes")

    assert not (tmp_path / "shapes").exists()


def test_a_missing_folder_is_not_a_version(tmp_path: Path):
    with pytest.raises(VersionError, match="1 is not a version of a model with a card"):
        load_version(tmp_path / "1")


def test_an_empty_folder_is_not_a_version(tmp_path: Path):
    (tmp_path / "1").mkdir()

    with pytest.raises(VersionError, match="1 is not a version of a model with a card"):
        load_version(tmp_path / "1")


def test_the_folder_of_a_model_is_not_a_version(tmp_path: Path):
    for number in (9, 10):
        (tmp_path / str(number)).mkdir()

    with pytest.raises(VersionError, match=rf"is the folder of a model; .* a version: {tmp_path}/10"):
        load_version(tmp_path)


def test_a_saved_model_without_a_card_is_not_a_version(tmp_path: Path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))

    with pytest.raises(VersionError, match="1 is not a version of a model with a card"):
        load_version(tmp_path / "1")


def test_a_missing_model_has_no_newest_version(tmp_path: Path):
    with pytest.raises(VersionError, match="base contains no version"):
        newest_version(tmp_path / "base")


def test_an_unfinished_export_is_not_the_newest_version(tmp_path: Path):
    (tmp_path / "base" / "1.tmp").mkdir(parents=True)

    with pytest.raises(VersionError, match="base contains no version"):
        newest_version(tmp_path / "base")


def test_the_index_of_the_golden_images_is_json(version: Version):
    document = json.loads((version.path / FOLDER / "golden.json").read_text())

    assert document["schema"] == 1
    assert [entry["class"] for entry in document["images"]] == ["square", "bar"]
