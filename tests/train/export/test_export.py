"""A version keeps the model contract, agrees with the network, and appears whole or not at all."""

import dataclasses
import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfs_api.protos import prediction_log_pb2
from tfs_api.tensors import from_tensor_proto
from train.data.examples import Example, to_inputs
from train.export.export import CARD_FILE, ExportError, export
from train.export.golden import FOLDER, Golden, read_golden
from train.export.savedmodel import Version, VersionError, load_version, newest_version, versions
from train.export.warmup import BATCH_SIZES, FILE
from train.networks.build import HEAD, POOL
from train.training.loop import predictor
from train.training.run import load_run
from train.verification.assess import set_temperature
from vision.card import Card


@pytest.fixture(scope="module")
def network(run: Path, version: Version) -> keras.Model:
    """The trained network at the temperature that it was exported with."""
    model = load_run(run)[1]
    set_temperature(model, version.card.metrics["temperature"])
    return model


@pytest.fixture(scope="module")
def goldens(version: Version) -> list[Golden]:
    return read_golden(version.path)


@pytest.fixture(scope="module")
def images(version: Version, goldens: list[Golden]) -> np.ndarray:
    return to_inputs([golden.example for golden in goldens], version.card.input, len(version.card.labels)).images


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def call(version: Version, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    outputs = version.loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def test_signatures_are_those_of_the_contract(version: Version):
    found = {
        name: (
            {key: (spec.dtype, tuple(spec.shape)) for key, spec in function.structured_input_signature[1].items()},
            {key: (spec.dtype, tuple(spec.shape)) for key, spec in function.structured_outputs.items()},
        )
        for name, function in version.loaded.signatures.items()
    }
    image = (tf.uint8, (None, 28, 28, 1))
    probabilities = {"probabilities": (tf.float32, (None, 2))}
    assert found == {
        "serving_default": ({"image": image}, probabilities),
        "describe": ({"index": (tf.int32, (None,))}, {"card": (tf.string, (None,))}),
        "classify_bytes": ({"image_bytes": (tf.string, (None,))}, probabilities),
        "explain": (
            {"image": image, "class_id": (tf.int32, (None,))},
            {"heatmap": (tf.float32, (None, 14, 14))},
        ),
    }


def test_probabilities_are_the_networks(version: Version, network: keras.Model):
    batch = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), np.uint8)
    np.testing.assert_allclose(version.predict(batch), predictor(network)(batch), atol=1e-6)


def test_golden_images_are_one_of_each_class_with_the_networks_answers(
    goldens: list[Golden], images: np.ndarray, version: Version, network: keras.Model
):
    assert [golden.example.classes for golden in goldens] == [(0,), (1,)]
    noted = np.stack([golden.probabilities for golden in goldens])
    np.testing.assert_array_equal(predictor(network)(images), noted)
    np.testing.assert_allclose(version.predict(images), noted, atol=1e-6)


def test_the_card_comes_once_a_row(version: Version):
    cards = call(version, "describe", index=np.array([5, -1, 0], np.int32))["card"]
    assert len(cards) == 3
    assert all(Card.from_json(card) == version.card for card in cards)


def test_the_card_lies_beside_the_graph_for_people(version: Version):
    assert Card.from_json((version.path / CARD_FILE).read_bytes()) == version.card


def test_the_card_tells_where_the_model_comes_from(version: Version, run: Path):
    card = version.card
    assert (card.name, card.title, card.labels) == ("shapes", "Two shapes", ("square", "bar"))
    assert card.input == load_run(run)[0].input
    assert card.output.activation == "none"
    assert card.metrics["images"] == 20
    assert 0 <= card.metrics["accuracy"] <= 1
    assert card.provenance["architecture"] == "small_cnn"
    assert card.provenance["configuration"]["training"]["epochs"] == 2
    assert card.provenance["data"]["licence"] == "CC BY-SA 3.0"


def test_encoded_images_get_the_same_probabilities(version: Version, goldens: list[Golden]):
    data = np.array([golden.example.data for golden in goldens], object)
    found = call(version, "classify_bytes", image_bytes=data)["probabilities"]
    np.testing.assert_allclose(found, np.stack([golden.probabilities for golden in goldens]), atol=1e-6)


def test_a_heatmap_is_what_each_place_adds_to_the_class(version: Version, network: keras.Model, images: np.ndarray):
    features = keras.Model(network.input, network.get_layer(POOL).input)(images.astype(np.float32)).numpy()
    for class_id in (0, 1):
        heatmap = call(version, "explain", image=images, class_id=np.full(len(images), class_id, np.int32))["heatmap"]
        adds = np.maximum(features @ network.get_layer(HEAD).kernel.numpy()[:, class_id], 0)
        most = adds.max(axis=(1, 2), keepdims=True)
        expected = np.divide(adds, most, out=np.zeros_like(adds), where=most > 0)
        np.testing.assert_allclose(heatmap, expected, atol=1e-5)


def test_a_class_that_does_not_exist_is_an_error(version: Version, images: np.ndarray):
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(version, "explain", image=images[:1], class_id=np.array([2], np.int32))


def test_warm_up_requests_fit_their_signatures(version: Version):
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        for record in tf.data.TFRecordDataset(str(version.path / FILE))
    ]
    answered = set()
    for request in requests:
        assert request.model_spec.name == "shapes"
        inputs = {name: from_tensor_proto(proto) for name, proto in request.inputs.items()}
        signature = request.model_spec.signature_name
        answered |= {(signature, len(output)) for output in call(version, signature, **inputs).values()}
    assert answered == {(name, size) for name in ("serving_default", "describe", "explain") for size in BATCH_SIZES}


def test_the_next_number_is_taken_and_nothing_overwritten(
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
    assert files(base / "7") == {"mine": hashlib.sha256(b"untouched").hexdigest()}
    assert newest_version(base) == base / "8"
    assert set(versions(models / "shapes")) == {1}


def broken(network: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(network)
    copy.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    return copy


def test_a_network_without_numbers_is_not_exported(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    with pytest.raises(ExportError, match="differs by nan"):
        export(broken(network), version.card, [golden.example for golden in goldens], tmp_path / "shapes")
    assert not (tmp_path / "shapes").exists()


def test_a_failure_in_the_middle_leaves_nothing(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    no_json = dataclasses.replace(version.card, metrics={"accuracy": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        export(network, no_json, [golden.example for golden in goldens], tmp_path / "shapes")
    assert list((tmp_path / "shapes").iterdir()) == []


def test_an_export_under_way_is_not_disturbed(
    network: keras.Model, version: Version, goldens: list[Golden], tmp_path: Path
):
    (tmp_path / "1.tmp").mkdir()
    (tmp_path / "1.tmp" / "half").write_text("")
    with pytest.raises(ExportError, match=r"1\.tmp exists: another export is under way, or one was killed"):
        export(network, version.card, [golden.example for golden in goldens], tmp_path)
    assert files(tmp_path).keys() == {"1.tmp/half"}


def test_an_unreadable_golden_image_is_refused_before_anything_is_written(
    network: keras.Model, version: Version, tmp_path: Path
):
    with pytest.raises(ValueError, match="image"):
        export(network, version.card, [Example(b"text", (0,))], tmp_path / "shapes")
    assert not (tmp_path / "shapes").exists()


@pytest.mark.parametrize("content", [None, "empty", "other"])
def test_what_is_no_version_is_told(tmp_path: Path, content: str | None):
    folder = tmp_path / "1"
    if content:
        folder.mkdir()
    if content == "other":
        tf.saved_model.save(tf.Module(), str(folder))
    with pytest.raises(VersionError, match="1 is no version of a model with a card"):
        load_version(folder)


@pytest.mark.parametrize("exists", [True, False])
def test_a_model_without_versions_is_told(tmp_path: Path, exists: bool):  # noqa: FBT001  # a parameter
    if exists:
        (tmp_path / "base" / "1.tmp").mkdir(parents=True)
    with pytest.raises(VersionError, match="base holds no version"):
        newest_version(tmp_path / "base")


def test_golden_index_is_plain_json(version: Version):
    document = json.loads((version.path / FOLDER / "golden.json").read_text())
    assert document["schema"] == 1
    assert [entry["class"] for entry in document["images"]] == ["square", "bar"]
