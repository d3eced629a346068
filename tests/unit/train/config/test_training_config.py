"""Configurations are checked in full before anything starts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from train.config.networks import Application
from train.config.optimization import Optimization, Transfer
from train.config.training_config import ConfigError, TrainingConfig, load_config

ROOT = Path(__file__).parents[4]
DIGITS = ROOT / "train/configs/digits.yaml"
CONFIGS = sorted((ROOT / "train/configs").glob("*.yaml"))

Edit = Callable[[dict[str, Any]], None]


def load_edited(folder: Path, edit: Edit):
    document = yaml.safe_load(DIGITS.read_text())
    edit(document)
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_committed_configuration_loads_and_states_command_time_and_result(path: Path):
    config = load_config(path)
    comment = path.read_text().partition("\nname:")[0]

    assert config.name == path.stem.removesuffix("_further")
    assert all(line.startswith("#") for line in comment.splitlines())
    assert f"python -m train fit train/configs/{path.name}" in comment
    assert "epochs" in comment
    assert re.search("minute|hour", comment)
    assert "Expect" in comment


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recorded_configuration_states_defaults_and_loads(path: Path):
    config = load_config(path)

    assert TrainingConfig.model_validate(config.model_dump(mode="json")) == config


def test_all_committed_configurations_are_checked():
    assert {"cifar10", "digits", "scenes", "weather"} <= {path.stem for path in CONFIGS}


def test_values_are_read_as_written():
    config = load_config(DIGITS)

    assert config.labels == tuple("0123456789")
    assert config.input.shape == (28, 28, 1)
    assert config.training.learning_rate > 0


@pytest.mark.parametrize(
    ("section", "typo", "nearest"),
    [
        ((), "lables", "labels"),
        (("training",), "epoch", "epochs"),
        (("training",), "lerning_rate", "learning_rate"),
        (("input",), "interpolaton", "interpolation"),
        (("data",), "mirror", "mirrors"),
        (("augmentation",), "rotation", "rotation_degrees"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    tmp_path: Path, section: tuple[str, ...], typo: str, nearest: str
):
    def misspell(document: dict[str, Any]):
        for key in section:
            document = document[key]
        document[typo] = 1

    with pytest.raises(ConfigError) as raised:
        load_edited(tmp_path, misspell)

    location = ".".join(section) or "the document"

    assert f"{location}: unknown key '{typo}'; the nearest known key is '{nearest}'" in str(raised.value)


def test_all_wrong_values_are_reported_at_once(tmp_path: Path):
    def break_values(document: dict[str, Any]):
        document["training"]["batch_size"] = 0
        document["model"]["dropout"] = 1.5
        del document["seed"]

    with pytest.raises(ConfigError) as raised:
        load_edited(tmp_path, break_values)

    message = str(raised.value)

    assert "edited.yaml" in message
    assert "training.batch_size: Input should be greater than or equal to 1" in message
    assert "model.dropout: Input should be less than 1" in message
    assert "seed: Field required" in message


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda document: document["labels"].append("7"), "labels: expected each label once, received 7"),
        (lambda document: document["input"].update(height=0), "input.height: expected an integer in 1..16384"),
        (
            lambda document: document["input"].update(antialias=True),
            'input.antialias: expected false if resize is "fit_ink"',
        ),
        (lambda document: document["input"].update(dtype="float32"), "only dtype uint8 and layout NHWC are accepted"),
        (lambda document: document["augmentation"].update(scale=[1.2, 0.8]), "the smallest scale comes first"),
        (lambda document: document["augmentation"].update(mix_up=0.2, cut_mix=1.0), "only one of them can be set"),
        (lambda document: document["augmentation"].update(crop=[1, 0.5]), "crop: the smallest area comes first"),
        (lambda document: document["augmentation"].update(hue=0.1), "hue and saturation need colour images"),
        (
            lambda document: document["augmentation"].update(rand_augment=0.3),
            "rand_augment: some of its operations need colour",
        ),
        (
            lambda document: document["training"].update(class_weights={"00": 2}),
            "training.class_weights: unknown key '00'; the nearest known key is '0'",
        ),
        (
            lambda document: document["training"].update(class_weights="even"),
            "class_weights: expected balanced or a weight above 0 for each label, such as {cat: 2}, received even",
        ),
        (
            lambda document: document["training"].update(class_weights={"0": -1}),
            "training.class_weights: expected balanced or a weight above 0",
        ),
        (
            lambda document: document["training"].update(mixed_precision="half"),
            "training.mixed_precision: expected true, false or auto, received half",
        ),
        (
            lambda document: document.update(model={"kind": "efficientnet_lite0", "weights": 3}),
            "model.weights: expected",
        ),
        (lambda document: document.update(labels="abc"), "labels: Input should be a list"),
        (lambda document: document.update(labels=["abc"]), "labels: expected at least 2 items, received 1"),
        (
            lambda document: document["training"].update(small_images=[[1, 2, 3]]),
            "training.small_images.0: expected at most 2 items, received 3",
        ),
        (
            lambda document: document.update(model={"kind": None}),
            "model.kind: expected one of small_cnn, resnet18, squeezenet, application, efficientnet_lite0, ",
        ),
        (lambda document: document.update(training=3), "training: Input should be a section of keys"),
        (
            lambda document: (document.update(task="multilabel"), document["training"].update(sampling="balanced")),
            "training.sampling: images of several classes cannot be drawn so that each class is as frequent",
        ),
        (lambda document: document["training"].update(epochs=0), "epochs: expected at least 1 without transfer"),
        (
            lambda document: document["training"].update(
                transfer={"frozen_epochs": 1, "frozen_learning_rate": 0.1, "fine_tune_form": "x"}
            ),
            "training.transfer: unknown key 'fine_tune_form'; the nearest known key is 'fine_tune_from'",
        ),
        (
            lambda document: document["training"].update(monitor="val_accuracy"),
            "training: monitor: needs patience as well",
        ),
        (
            lambda document: document["training"].update(patience=2, monitor="val_micro_f1"),
            "val_micro_f1 is not measured for a model with task 'multiclass'; choose one of val_loss, val_accuracy, ",
        ),
        (
            lambda document: document.update(model={"kind": "resnet81"}),
            "model.kind: unknown kind 'resnet81'; the nearest is 'resnet18'; the kinds are small_cnn, resnet18, ",
        ),
        (
            lambda document: document["data"].update(kind="folder"),
            "data.kind: unknown kind 'folder'; the nearest is 'folders'",
        ),
        (lambda document: document["data"].pop("kind"), "data.kind: Field required"),
        (
            lambda document: document["training"].update(transfer={"frozen_epochs": 1, "frozen_learning_rate": 0.1}),
            "training.transfer: a model of kind small_cnn has no pretrained weights",
        ),
        (
            lambda document: document.update(model={"kind": "squeezenet"}),
            "input.color: a model of kind squeezenet accepts only RGB",
        ),
        (
            lambda document: document.update(model={"kind": "application", "name": "MobileNet"}),
            "model.name: Input should be 'MobileNetV2'",
        ),
        (
            lambda document: document.update(model={"kind": "efficientnet_lite0", "weights_sha256": "0" * 64}),
            "weights_sha256: weights: imagenet names no file to check",
        ),
        (
            lambda document: document.update(model={"kind": "efficientnet_lite4"}),
            "no Python package carries the ImageNet weights of efficientnet_lite4",
        ),
        (lambda document: document["data"]["sha256"].popitem(), "data.sha256"),
        (lambda document: document["data"]["sha256"].update({"t10k-labels-idx1-ubyte": "123"}), "data.sha256"),
        (lambda document: document.update(name="Two words"), "name: String should match pattern"),
    ],
)
def test_unusable_values_are_refused(tmp_path: Path, edit: Edit, message: str):
    with pytest.raises(ConfigError) as raised:
        load_edited(tmp_path, edit)

    assert message in str(raised.value)


def test_labels_that_are_numbers_are_reported_one_by_one_with_what_to_write(tmp_path: Path):
    with pytest.raises(ConfigError) as raised:
        load_edited(tmp_path, lambda document: document.update(labels=[1, True, "c"]))

    message = "Input should be text; put a number, true or false in quotes, such as '1'"
    assert str(raised.value).splitlines()[1:] == [f"  labels.0: {message}", f"  labels.1: {message}"]


TRANSFER = {"frozen_epochs": 1, "frozen_learning_rate": 0.1}
STAGE = {"epochs": 2, "learning_rate": 0.1}


def fine_tune(document: dict[str, Any], **training: Any) -> None:
    """Change the configuration to that of a pretrained network, of which only the last layer is trained."""
    document["input"] |= {"color": "RGB", "resize": "stretch"}
    document["model"] = {"kind": "efficientnet_lite0"}
    document["augmentation"] = {}
    document["training"] |= {"epochs": 0, "transfer": TRANSFER, **training}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda document: document["augmentation"].update(mix_share=0.5), "mix_share: has no effect without mix_up or"),
        (
            lambda document: document["augmentation"].update(jpeg_quality=[50, 60]),
            "jpeg_quality: has no effect without",
        ),
        (
            lambda document: document.update(augmentation={"share": 0.5}),
            "share: has no effect without crop or rotation",
        ),
        (
            lambda document: document["training"].update(warmup_epochs=17),
            "warmup_epochs: 17 is more than the 16 epochs",
        ),
        (
            lambda document: document["training"].update(small_images=[[9, 14], [8, 20]]),
            "small_images: 17 epochs are more than the 16 in which the network learns",
        ),
        (
            lambda document: document["training"].update(small_images=[[9, 28]]),
            "training.small_images: 28 pixels do not reduce images of 28 x 28; set a smaller side",
        ),
        (
            lambda document: (document["training"].update(small_images=[[9, 24]]), document["input"].update(width=20)),
            "training.small_images: 24 pixels do not reduce images of 28 x 20",
        ),
        (
            lambda document: document["training"].update(momentum=0.8),
            "momentum: has no effect with adamw; set optimizer to sgd or muon, or remove momentum",
        ),
        (
            lambda document: fine_tune(document, optimizer="sgd"),
            "optimizer: has no effect if epochs is 0; set epochs",
        ),
        (
            lambda document: fine_tune(document, optimizer="sgd", momentum=0.8),
            "optimizer: has no effect if epochs is 0; set epochs",
        ),
        (lambda document: fine_tune(document, warmup_epochs=0), "warmup_epochs: has no effect if epochs is 0"),
        (lambda document: fine_tune(document, patience=2), "patience: has no effect if epochs is 0"),
        (lambda document: fine_tune(document, small_images=[[1, 16]]), "small_images: has no effect if epochs is 0"),
        (
            lambda document: fine_tune(document, transfer=TRANSFER | {"fine_tune_from": "last"}),
            "transfer.fine_tune_from: has no effect if epochs is 0",
        ),
        (
            lambda document: fine_tune(document, transfer=TRANSFER | {"backbone_learning_rate_factor": 0.1}),
            "transfer.backbone_learning_rate_factor: has no effect if epochs is 0",
        ),
        (
            lambda document: fine_tune(document, transfer=TRANSFER | {"stages": [STAGE]}, warmup_epochs=3),
            "warmup_epochs: 3 is more than the 2 epochs",
        ),
        (
            lambda document: (fine_tune(document), document.update(augmentation={"flip": True})),
            "augmentation: has no effect if training.epochs is 0",
        ),
        (
            lambda document: (fine_tune(document), document["model"].update(weights="none")),
            "training.transfer: model.weights is none",
        ),
    ],
)
def test_a_key_without_effect_is_refused(tmp_path: Path, edit: Edit, message: str):
    with pytest.raises(ConfigError) as raised:
        load_edited(tmp_path, edit)

    assert message in str(raised.value)


def test_the_last_layer_alone_is_trained_by_what_remains(tmp_path: Path):
    remaining = {"schedule": "linear", "weight_decay": 0.1, "ema_momentum": 0.9, "loss": "focal", "batch_size": 4}

    training = load_edited(tmp_path, lambda document: fine_tune(document, **remaining)).training

    assert training.frozen is not None
    assert training.frozen.model_dump(include=set(remaining)) == remaining


def test_small_images_may_be_square_where_others_are_not(tmp_path: Path):
    def edit(document: dict[str, Any]):
        document["input"]["width"] = 20
        document["training"]["small_images"] = [[9, 20]]

    assert load_edited(tmp_path, edit).training.image_side(0) == 20


def test_patience_and_augmentation_act_on_stages_without_further_epochs(tmp_path: Path):
    def edit(document: dict[str, Any]):
        fine_tune(
            document,
            patience=2,
            transfer=TRANSFER | {"stages": [STAGE]},
            optimizer="sgd",
            momentum=0.8,
            warmup_epochs=0,
        )
        document["augmentation"] = {"flip": True}

    assert load_edited(tmp_path, edit).training.patience == 2


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"just text"])
def test_a_file_that_is_not_a_yaml_mapping_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_config(path)


def test_weights_are_a_name_or_a_path():
    published, own = (Application(kind="application", name="ResNet50", weights=value) for value in ("imagenet", "a.h5"))

    assert published.weights == "imagenet"
    assert own.weights == Path("a.h5")


def test_the_frozen_epochs_have_their_own_schedule_and_share_the_rest():
    transfer = {"frozen_epochs": 7, "frozen_learning_rate": 0.5}
    optimization = Optimization(
        epochs=1, batch_size=4, learning_rate=0.1, optimizer="muon", weight_decay=0.3, transfer=transfer
    )

    assert optimization.frozen is not None
    assert (optimization.frozen.epochs, optimization.frozen.learning_rate, optimization.frozen.optimizer) == (
        7,
        0.5,
        "adamw",
    )
    assert (optimization.frozen.warmup_epochs, optimization.frozen.weight_decay, optimization.frozen.batch_size) == (
        0,
        0.3,
        4,
    )
    by_sgd = optimization.model_copy(update={"transfer": Transfer(**transfer, frozen_optimizer="sgd")})
    assert by_sgd.frozen is not None
    assert (by_sgd.frozen.optimizer, by_sgd.optimizer) == ("sgd", "muon")
    assert Optimization(epochs=1, batch_size=4, learning_rate=0.1).frozen is None


def test_fine_tuning_ends_with_the_epochs_of_the_training():
    stages = [{"epochs": 3, "learning_rate": 0.2, "fine_tune_from": "last"}]
    transfer = {"frozen_epochs": 7, "frozen_learning_rate": 0.5, "fine_tune_from": "stem", "stages": stages}
    optimization = Optimization(epochs=2, batch_size=4, learning_rate=0.1, weight_decay=0.3, transfer=transfer)

    first, last = optimization.fine_tuning

    assert first.transfer is not None
    assert (first.epochs, first.learning_rate, first.transfer.fine_tune_from) == (3, 0.2, "last")
    assert first.weight_decay == 0.3
    assert last == optimization


def test_without_epochs_only_the_stages_are_left():
    transfer = {"frozen_epochs": 7, "frozen_learning_rate": 0.5, "stages": [{"epochs": 3, "learning_rate": 0.2}]}
    with_stage = Optimization(epochs=0, batch_size=4, learning_rate=0.1, transfer=transfer)
    without = Optimization(epochs=0, batch_size=4, learning_rate=0.1, transfer=transfer | {"stages": []})

    assert [stage.epochs for stage in with_stage.fine_tuning] == [3]
    assert without.fine_tuning == ()


def test_images_are_small_for_the_configured_epochs():
    optimization = Optimization(epochs=4, batch_size=4, learning_rate=0.1, small_images=((1, 16), (2, 24)))

    assert [optimization.image_side(epoch) for epoch in range(4)] == [16, 24, 24, None]


def test_a_width_at_which_tensorflow_ends_the_process_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"model\.width: Input should be greater than or equal to 16"):
        load_edited(tmp_path, lambda document: document.update(model={"kind": "resnet18", "width": 8}))
