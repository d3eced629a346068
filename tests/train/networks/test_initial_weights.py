"""A network starts from the weights of an earlier run."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from train.config.networks import SmallCnn
from train.networks.build import HEAD, build_model
from train.networks.initial_weights import load_initial_weights
from train.networks.weights_file import WeightsError

CONFIG = SmallCnn(kind="small_cnn", blocks=((4,), (8,)))
SHAPE = (16, 16, 3)
LABELS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def earlier() -> keras.Model:
    keras.utils.set_random_seed(0)
    network = build_model(CONFIG, SHAPE, 3)
    network.set_weights([values + 0.5 for values in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def path(earlier: keras.Model, config_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.keras"
    earlier.save(path)
    path.with_name("config.yaml").write_text(yaml.safe_dump(config_document | {"labels": LABELS}))
    return path


def test_all_weights_are_those_of_an_earlier_run_with_the_same_labels(earlier: keras.Model, path: Path):
    network = build_model(CONFIG, SHAPE, 3)

    load_initial_weights(network, CONFIG, path, LABELS)

    for actual, expected in zip(network.get_weights(), earlier.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("labels", [[*LABELS, "yellow"], LABELS[::-1]])
def test_the_last_layer_is_new_for_other_labels(earlier: keras.Model, path: Path, labels: list[str]):
    network = build_model(CONFIG, SHAPE, len(labels))
    head = network.get_layer(HEAD).get_weights()

    load_initial_weights(network, CONFIG, path, labels)

    np.testing.assert_array_equal(network.get_layer(HEAD).get_weights()[0], head[0])
    np.testing.assert_array_equal(network.get_weights()[0], earlier.get_weights()[0])


def test_the_weights_of_another_network_are_refused(path: Path):
    wider = SmallCnn(kind="small_cnn", blocks=((6,), (8,)))

    with pytest.raises(WeightsError, match=r"a run with model\.kind small_cnn; its layer \S+ has weights of"):
        load_initial_weights(build_model(wider, SHAPE, 3), wider, path)


def test_a_network_with_other_layers_is_refused(path: Path):
    deeper = SmallCnn(kind="small_cnn", blocks=((4,), (8,), (8,)))

    with pytest.raises(WeightsError, match=r"it has \d+ layers with weights instead of \d+"):
        load_initial_weights(build_model(deeper, SHAPE, 3), deeper, path)


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "model.keras").write_bytes(b"PK")

    with pytest.raises(WeightsError, match=r"model\.keras is damaged, or is not the trained network of a run"):
        load_initial_weights(build_model(CONFIG, SHAPE, 3), CONFIG, tmp_path / "model.keras")


def test_a_file_with_a_wrong_checksum_is_named(path: Path, tmp_path: Path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(value ^ 0xFF for value in content[middle : middle + 50])
    (tmp_path / "model.keras").write_bytes(content)

    with pytest.raises(WeightsError, match=r"model\.keras is damaged, or is not the trained network of a run"):
        load_initial_weights(build_model(CONFIG, SHAPE, 3), CONFIG, tmp_path / "model.keras")


def test_a_model_with_a_layer_of_its_own_is_refused(tmp_path: Path):
    class Own(keras.layers.Layer):
        def call(self, x: object) -> object:
            return x

    image = keras.Input(SHAPE)
    keras.Model(image, Own()(image)).save(tmp_path / "model.keras")

    with pytest.raises(WeightsError, match=r"is not the trained network of a run"):
        load_initial_weights(build_model(CONFIG, SHAPE, 3), CONFIG, tmp_path / "model.keras")
