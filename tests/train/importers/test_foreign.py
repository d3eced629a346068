"""Imported models become versions that predict as before, describe themselves and accept encoded images."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from train.cli.main import app
from train.errors import TrainError
from train.export.export import ExportError, export_network
from train.export.golden import read_golden
from train.export.precision import ExportPrecision
from train.export.savedmodel import Version, load_version
from train.export.warmup import WARMUP_FILE
from train.importers.cards import read_card, served_card
from train.importers.checks import pseudo_label
from train.importers.foreign import import_keras
from train.importers.published import build_squeezenet, imagenet_classes, imagenet_labels
from train.weights.onnx_file import read_onnx
from train.weights.protobuf_file import read_caffe
from train.weights.tensors import WeightsFileError
from vision.card import Card
from vision.preprocess import load

ROOT = Path(__file__).parents[3]
SQUEEZENET = ROOT / "../shared/data/weights/squeezenet_v1.1"
LABELS = ("red", "green", "blue")
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
CARD: dict[str, Any] = {
    "name": "colours",
    "labels": LABELS,
    "input": {"height": 16, "width": 16, "dtype": "float32", "mean": MEAN, "std": STD},
    "output": {"activation": "softmax"},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text file, and three images of 16 x 16 in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "inner").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        cv2.imwrite(str(folder / "inner" / f"{index}.png"), noise)
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network from normalised colours to class scores, with a kernel large enough to be compressed."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 3, activation="relu")(image)
    x = keras.layers.Conv2D(32, 3, activation="relu")(x)
    x = keras.layers.Dropout(0.1)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(3)(x))


def write_card(folder: Path, **changes: Any) -> Path:
    document = CARD | changes
    document["input"] = CARD["input"] | changes.get("input", {})
    path = folder / "card.json"
    path.write_text(json.dumps(document))
    return path


def run_command(*arguments: object) -> str:
    """Run a command and return its output on one line."""
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def normalise(images: np.ndarray) -> np.ndarray:
    return (images - np.array(MEAN, np.float32)) / np.array(STD, np.float32)


def load_golden_images(version: Version) -> np.ndarray:
    goldens = read_golden(version.path)
    return np.stack([load(golden.example.data, version.card.input, max_pixels=1000) for golden in goldens])


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def colours(model: keras.Model, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The network, saved by Keras and imported by the command."""
    folder = tmp_path_factory.mktemp("keras")
    model.save(folder / "model.keras")
    card = write_card(folder, title="Colours", provenance={"licence": "mine"})
    options = ("--card", card, "--pictures", pictures, "--models", folder)
    output = run_command("import-keras", folder / "model.keras", *options)
    assert "3 classes; largest difference of a probability from the original's, over 3 golden images" in output
    assert "heat maps: yes" in output
    return load_version(folder / "colours/1")


def test_an_imported_keras_model_predicts_as_before(colours: Version, model: keras.Model):
    images = load_golden_images(colours)
    expected = softmax(model(normalise(images)).numpy())

    recorded = np.stack([golden.probabilities for golden in read_golden(colours.path)])

    np.testing.assert_allclose(colours.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(recorded, expected, atol=1e-5)


def test_the_card_of_an_imported_model_leaves_out_normalisation_and_activation(colours: Version):
    card = colours.card

    assert (card.name, card.title, card.labels) == ("colours", "Colours", LABELS)
    assert (card.input.dtype, card.input.mean, card.input.std) == ("uint8", (), ())
    assert card.output.activation == "none"
    assert card.provenance["licence"] == "mine"


def test_an_imported_model_accepts_encoded_images(colours: Version):
    goldens = read_golden(colours.path)
    encoded = tf.constant([golden.example.data for golden in goldens])

    probabilities = colours.loaded.signatures["classify_bytes"](image_bytes=encoded)["probabilities"]

    np.testing.assert_allclose(probabilities, np.stack([golden.probabilities for golden in goldens]), atol=1e-5)


def test_an_imported_model_can_be_explained(colours: Version):
    images = tf.constant(load_golden_images(colours))

    heatmap = colours.loaded.signatures["explain"](image=images, class_id=tf.constant([0, 1, 2]))["heatmap"]

    assert heatmap.shape == (3, 12, 12)


@pytest.fixture(scope="module")
def channels_first(tmp_path_factory: pytest.TempPathFactory) -> tf.Module:
    """A foreign model: NCHW, two outputs, independent class scores; saved as a SavedModel in `path`."""
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal((3, 3), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec((None, 3, 16, 16), tf.float32, name="x")])
    def serve(x: Any) -> dict[str, Any]:
        means = tf.reduce_mean(x, axis=(2, 3))
        return {"scores": means @ module.weights, "means": means}

    module.serve = serve
    module.path = tmp_path_factory.mktemp("foreign") / "saved"
    tf.saved_model.save(module, str(module.path), signatures=serve)
    return module


def test_an_imported_saved_model_describes_itself(channels_first: tf.Module, pictures: Path, tmp_path: Path):
    output = {"name": "scores", "activation": "sigmoid"}
    card = write_card(tmp_path, input={"layout": "NCHW"}, output=output, task="multilabel", threshold=0.4)
    options = ("--card", card, "--pictures", pictures, "--models", tmp_path)

    output = run_command("describe", channels_first.path, *options)

    assert "heat maps: no" in output
    version = load_version(tmp_path / "colours/1")
    assert set(version.loaded.signatures) == {"serving_default", "describe", "classify_bytes"}
    images = load_golden_images(version)
    scores = channels_first.serve(normalise(images).transpose(0, 3, 1, 2).astype(np.float32))["scores"]
    expected = tf.math.sigmoid(scores).numpy()
    np.testing.assert_allclose(version.predict(images), expected, atol=1e-5)
    assert version.card.task == "multilabel"
    classes = [golden.example.classes for golden in read_golden(version.path)]
    assert classes == [tuple(np.flatnonzero(row >= 0.4)) for row in expected]
    warm_up = [record.numpy() for record in tf.data.TFRecordDataset(str(version.path / WARMUP_FILE))]
    assert warm_up
    assert not any(b"explain" in record for record in warm_up)


def test_import_keras_accepts_the_directory_of_a_saved_model(channels_first: tf.Module, pictures: Path, tmp_path: Path):
    card = write_card(tmp_path, input={"layout": "NCHW"}, output={"name": "scores", "activation": "softmax"})
    options = ("--card", card, "--pictures", pictures, "--models", tmp_path)

    outputs = [run_command("import-keras", channels_first.path, *options) for _ in range(2)]

    assert "colours/1 written" in outputs[0]
    assert "colours/2 written" in outputs[1]


def test_the_weights_of_an_imported_model_can_be_compressed(model: keras.Model, pictures: Path, tmp_path: Path):
    model.save(tmp_path / "model.h5")
    options = ("--card", write_card(tmp_path), "--pictures", pictures, "--models", tmp_path, "--store", "int8")

    run_command("import-keras", tmp_path / "model.h5", *options)

    version = load_version(tmp_path / "colours/1")
    assert version.card.provenance["weights"] == "int8"
    difference = np.abs(
        version.predict(load_golden_images(version)) - softmax(model(normalise(load_golden_images(version))).numpy())
    )
    assert 0 < difference.max() < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["one", "two"]}, "The card has 2 labels; the output"),
        (
            {"input": {"height": 20}},
            r"The card describes .*\[20, 16, 3\] for one image; the input takes float32\[N, 16, 16, 3\]",
        ),
        ({"input": {"color": "GRAY", "mean": (), "std": ()}}, r"The card describes .*\[16, 16, 1\] for one image"),
        ({"input": {"layout": "NCHW"}}, r"The card describes .*\[3, 16, 16\] for one image"),
        ({"labels": []}, "card.json: labels: expected at least one label"),
        ({"name": "../colours"}, "card.json: the name '../colours' becomes a folder"),
        ({"name": "my colours"}, "card.json: the name 'my colours' becomes a folder"),
    ],
)
def test_a_card_of_another_model_is_refused(model: keras.Model, tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(TrainError, match=message):
        import_keras(model, read_card(write_card(tmp_path, **changes)))


def test_a_missing_output_is_refused_with_the_existing_ones(channels_first: tf.Module, pictures: Path, tmp_path: Path):
    card = write_card(tmp_path, input={"layout": "NCHW"}, output={"name": "other"})
    options = ["--card", str(card), "--pictures", str(pictures), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["describe", str(channels_first.path), *options])

    assert "means float32[N, 3], scores float32[N, 3]" in str(result.exception)
    assert 'The card names the output "other"' in str(result.exception)


GRAY = {"height": 28, "width": 28, "color": "GRAY", "dtype": "float32", "mean": (), "std": (255,)}


def save_foreign(folder: Path, spec: tf.TensorSpec, scores: Callable[[Any], Any]) -> Path:
    """Save a model without a card that computes `scores` from its only input."""
    module = tf.Module()
    module.serve = tf.function(lambda x: {"out": scores(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    return folder / "saved"


def lightness(x: Any) -> Any:
    """Return the mean of each row, float32[N, 1]."""
    return tf.reduce_mean(tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1]), axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("dtype", "shape"), [(tf.float32, (None, 28, 28)), (tf.float32, (None, 784)), (tf.float16, (None, 1, 28, 28))]
)
def test_models_of_one_score_and_other_shapes_are_imported(
    pictures: Path, tmp_path: Path, dtype: tf.DType, shape: tuple[int | None, ...]
):
    saved = save_foreign(tmp_path, tf.TensorSpec(shape, dtype, name="x"), lambda x: lightness(x)[:, None])
    card = write_card(tmp_path, labels=["dark", "light"], input=GRAY, output={})

    run_command("describe", saved, "--card", card, "--pictures", pictures, "--models", tmp_path)

    images = np.stack([np.full((28, 28, 1), shade, np.uint8) for shade in (0, 51, 255)])
    expected = [[1, 0], [0.8, 0.2], [0, 1]]
    np.testing.assert_allclose(load_version(tmp_path / "colours/1").predict(images), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(None, None), None])
def test_one_score_in_an_output_of_open_shape_is_imported(
    pictures: Path, tmp_path: Path, shape: tuple[int | None, ...] | None
):
    spec = tf.TensorSpec((None, 28, 28, 1), name="x")
    saved = save_foreign(tmp_path, spec, lambda x: tf.raw_ops.PlaceholderWithDefault(input=lightness(x), shape=shape))
    card = write_card(tmp_path, labels=["dark", "light"], input=GRAY, output={})

    run_command("describe", saved, "--card", card, "--pictures", pictures, "--models", tmp_path)

    images = np.full((1, 28, 28, 1), 51, np.uint8)
    np.testing.assert_allclose(load_version(tmp_path / "colours/1").predict(images), [[0.8, 0.2]], atol=1e-3)


def test_a_keras_model_with_one_sigmoid_unit_is_imported_with_heat_maps(pictures: Path, tmp_path: Path):
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(x))
    model.save(tmp_path / "model.keras")
    card = write_card(tmp_path, labels=["cat", "dog"], output={})

    run_command("import-keras", tmp_path / "model.keras", "--card", card, "--pictures", pictures, "--models", tmp_path)

    version = load_version(tmp_path / "colours/1")
    images = load_golden_images(version)
    dog = model(normalise(images)).numpy()
    np.testing.assert_allclose(version.predict(images), np.concatenate([1 - dog, dog], axis=1), atol=1e-5)
    explain = version.loaded.signatures["explain"]
    cat, dog = (explain(image=images[:1], class_id=[number])["heatmap"].numpy() for number in (0, 1))
    assert cat.shape == dog.shape == (1, 14, 14)
    assert not (cat * dog).any(), "what speaks for one speaks against the other"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("ending", [keras.layers.GlobalAveragePooling2D, keras.layers.Flatten])
def test_a_sequential_model_is_imported(pictures: Path, tmp_path: Path, suffix: str, ending: type[keras.layers.Layer]):
    keras.utils.set_random_seed(0)
    shape = keras.Input((16, 16, 3))
    model = keras.Sequential([shape, keras.layers.Conv2D(4, 3), ending(), keras.layers.Dense(3)])
    file = tmp_path / f"model{suffix}"
    model.save(file)

    run_command("import-keras", file, "--card", write_card(tmp_path), "--pictures", pictures, "--models", tmp_path)

    version = load_version(tmp_path / "colours/1")
    images = load_golden_images(version)
    np.testing.assert_allclose(version.predict(images), softmax(model(normalise(images)).numpy()), atol=1e-5)
    assert ("explain" in version.loaded.signatures) == (ending is keras.layers.GlobalAveragePooling2D)


@pytest.mark.parametrize(
    ("spec", "scores", "message"),
    [
        (tf.TensorSpec((None, 28, 28), name="x"), lambda x: 9 * tf.tile(lightness(x), [1, 3]), "scores from 4.518 to"),
        (
            tf.TensorSpec((None, 28, 28), name="x"),
            lambda x: tf.tile(lightness(x), [1, 3]),
            r"the scores of a gray image add up to 1\.506, not to 1; if they are logits, set output\.activation",
        ),
        (tf.TensorSpec((None, 28, 28), name="x"), lambda x: tf.argmax(lightness(x), 1), "class numbers, not scores"),
        (tf.TensorSpec((None, 28, 28, 4), name="x"), lambda x: tf.tile(lightness(x), [1, 3]), "has 4 channels"),
        (tf.TensorSpec((28, 28, 1), name="x"), lambda x: tf.tile(lightness(x)[:1], [1, 3]), "has no batch dimension"),
        (tf.TensorSpec((1, 28, 28, 1), name="x"), lambda x: tf.tile(lightness(x), [1, 3]), "batches of any size"),
    ],
)  # fmt: skip
def test_a_model_that_the_gateway_would_refuse_is_not_imported(
    pictures: Path, tmp_path: Path, spec: tf.TensorSpec, scores: Callable[[Any], Any], message: str
):
    saved = save_foreign(tmp_path, spec, scores)
    card = write_card(tmp_path, input=GRAY, output={})
    options = ["--card", str(card), "--pictures", str(pictures), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["describe", str(saved), *options])

    assert isinstance(result.exception, TrainError)
    assert re.search(message, str(result.exception)), result.exception
    assert not (tmp_path / "colours").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("only.weights.h5", "a complete Keras model"),
        ("empty", "a SavedModel"),
        ("a.pt", "a .keras or .h5 file; for PyTorch use: python -m train import-torch"),
        ("cut.keras", "a ZIP archive, as Keras writes; the file is truncated"),
    ],
)
def test_a_file_without_a_model_is_refused(model: keras.Model, pictures: Path, tmp_path: Path, name: str, message: str):
    model.save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pt").touch()
    (tmp_path / "cut.keras").write_bytes(b"PK")
    options = ["--card", str(write_card(tmp_path)), "--pictures", str(pictures), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["import-keras", str(tmp_path / name), *options])

    assert f"{name}: expected {message}" in str(result.exception)
    assert not (tmp_path / "colours").exists()


def test_a_missing_keras_file_is_named(pictures: Path, tmp_path: Path):
    options = ["--card", str(write_card(tmp_path)), "--pictures", str(pictures), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["import-keras", str(tmp_path / "none.keras"), *options])

    assert isinstance(result.exception, FileNotFoundError)
    assert result.exception.filename == str(tmp_path / "none.keras")


def test_a_model_with_custom_code_is_refused(pictures: Path, tmp_path: Path):
    image = keras.Input((16, 16, 3))
    custom = keras.layers.Lambda(lambda x: x, output_shape=(16, 16, 3))(image)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(custom))).save(tmp_path / "model.keras")
    options = ["--card", str(write_card(tmp_path)), "--pictures", str(pictures), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["import-keras", str(tmp_path / "model.keras"), *options])

    assert "without custom layers" in str(result.exception)


@pytest.mark.parametrize(("name", "state"), [("missing", "is not a folder"), ("empty", "contains no images")])
def test_a_folder_without_pictures_is_refused_before_the_import(tmp_path: Path, name: str, state: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    options = ["--card", "none.json", "--pictures", str(tmp_path / name), "--models", str(tmp_path)]

    result = CliRunner().invoke(app, ["import-keras", "none.keras", *options])

    assert str(result.exception).startswith(f"--pictures {tmp_path / name} {state}; expected a folder with files")
    assert ".jpg, " in str(result.exception)


def test_a_golden_image_that_cannot_be_decoded_is_refused(model: keras.Model, pictures: Path):
    card = Card.from_json(json.dumps(CARD))
    network = import_keras(model, card).network

    with pytest.raises(TrainError, match=r"notes\.txt: the image is in none of the accepted formats"):
        pseudo_label([pictures / "notes.txt"], served_card(card, {}), network)


def test_a_network_that_differs_from_the_original_is_not_written(model: keras.Model, pictures: Path, tmp_path: Path):
    card = Card.from_json(json.dumps(CARD))
    network = import_keras(model, card).network
    served = served_card(card, {})
    examples = pseudo_label([pictures / "inner/0.png"], served, network)

    with pytest.raises(ExportError, match="differs by"):
        export_network(network, served, examples, tmp_path / "colours", lambda images: network.predict(255 - images))

    assert not (tmp_path / "colours").exists()


def test_imagenet_has_a_thousand_classes_with_names_of_their_own():
    classes = imagenet_classes()
    ids, labels = tuple(classes), imagenet_labels()

    assert len(classes) == len({label.lower() for label in labels}) == 1000
    assert ids == tuple(sorted(ids))
    assert (labels[0], labels[207], labels[999]) == ("tench", "golden retriever", "toilet paper")
    assert (classes["n02012849"], classes["n03126707"]) == ("crane (bird)", "crane (machine)")


@pytest.mark.skipif(not SQUEEZENET.is_dir(), reason="SqueezeNet's files are not in ../shared/data/weights")
def test_the_onnx_and_caffe_files_of_squeezenet_contain_the_same_weights():
    onnx = read_onnx(SQUEEZENET / "squeezenet_v1.1_fp16.onnx")
    caffe = read_caffe(SQUEEZENET / "squeezenet_v1.1.caffemodel")

    assert onnx.keys() == caffe.keys()
    assert sum(array.size for array in onnx.values()) == 1_235_496
    for name, array in onnx.items():
        np.testing.assert_array_equal(array, caffe[name])


@pytest.mark.skipif(not SQUEEZENET.is_dir(), reason="SqueezeNet's files are not in ../shared/data/weights")
def test_squeezenet_predicts_the_same_as_in_opencv():
    path = SQUEEZENET / "squeezenet_v1.1_fp16.onnx"
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    inputs = cv2.dnn.blobFromImages(list(images), mean=(104, 117, 123), swapRB=True)
    reference = cv2.dnn.readNetFromONNX(str(path))
    reference.setInput(inputs)
    expected = reference.forward().reshape(2, -1)

    model, card = build_squeezenet(path)
    network = import_keras(model, card, ExportPrecision()).network

    assert network.explains
    np.testing.assert_allclose(network.predict(images), expected, atol=1e-3)


@pytest.mark.parametrize("name", ["weights.onnx", "weights.caffemodel"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 40])
def test_a_file_without_squeezenet_is_refused(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(WeightsFileError, match=name):
        build_squeezenet(tmp_path / name)


def test_a_missing_file_of_weights_is_refused(pictures: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["imagenet", "--weights", str(tmp_path / "none.h5"), "--pictures", str(pictures)])

    assert "none.h5 does not exist" in str(result.exception)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with the signatures `predict_images`, of probabilities, and `features`."""
    module = tf.Module()
    spec = tf.TensorSpec((None, 16, 16, 3), tf.float32, name="images")
    module.predict = tf.function(lambda x: {"scores": tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)))}, [spec])
    module.features = tf.function(lambda x: {"features": tf.reduce_mean(x, axis=(1, 2))}, [spec])
    folder = tmp_path_factory.mktemp("signed") / "saved"
    tf.saved_model.save(module, str(folder), {"predict_images": module.predict, "features": module.features})
    return folder


@pytest.mark.parametrize("command", ["describe", "import-keras"])
def test_a_signature_can_be_named(signed: Path, pictures: Path, tmp_path: Path, command: str):
    options = ("--card", write_card(tmp_path), "--pictures", pictures, "--models", tmp_path, "--tflite", "none")

    output = run_command(command, signed, *options, "--signature", "predict_images")

    assert "The network ends in softmax; none was added." in output
    version = load_version(tmp_path / "colours/1")
    images = load_golden_images(version)
    np.testing.assert_allclose(version.predict(images), softmax(normalise(images).mean(axis=(1, 2))), atol=1e-5)


@pytest.mark.parametrize("options", [[], ["--signature", "classify"]])
def test_the_signatures_that_exist_are_named(signed: Path, pictures: Path, tmp_path: Path, options: list[str]):
    arguments = ["--card", str(write_card(tmp_path)), "--pictures", str(pictures), "--models", str(tmp_path), *options]

    result = CliRunner().invoke(app, ["describe", str(signed), *arguments])

    assert "name one that it has by --signature: features, predict_images" in str(result.exception)


def test_a_model_of_tensorflow_1_is_imported_by_its_only_signature(pictures: Path, tmp_path: Path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.float32, (None, 16, 16, 3))
        kernel = tf.compat.v1.get_variable("kernel", initializer=tf.eye(3))
        scores = tf.nn.softmax(tf.matmul(tf.reduce_mean(image, axis=(1, 2)), kernel))
        session.run(tf.compat.v1.global_variables_initializer())
        build = tf.compat.v1.saved_model.signature_def_utils.predict_signature_def
        writer = tf.compat.v1.saved_model.Builder(str(tmp_path / "saved"))
        writer.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"predict": build({"image": image}, {"scores": scores})}
        )
        writer.save()
    options = ("--card", write_card(tmp_path), "--pictures", pictures, "--models", tmp_path, "--tflite", "none")

    output = run_command("describe", tmp_path / "saved", *options)

    assert "The network ends in softmax; none was added." in output
    images = load_golden_images(load_version(tmp_path / "colours/1"))
    expected = softmax(normalise(images).mean(axis=(1, 2)))
    np.testing.assert_allclose(load_version(tmp_path / "colours/1").predict(images), expected, atol=1e-5)
