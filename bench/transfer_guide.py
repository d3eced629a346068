"""Compare `fit` with Keras' guide to transfer learning: the same network, photos, splits and seeds.

    python -m bench.transfer_guide train/configs/weather.yaml --data FOLDER --seeds 5

The guide (https://keras.io/guides/transfer_learning) trains a new last layer for photos that are mirrored and rotated
at random, and then the whole network at a low rate. The printed Markdown table has the mean of each metric over the
seeds, its standard error, the same of the difference from the guide, and the CPU seconds of this process.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import yaml
from keras import layers

from bench.training import METRICS, UNCHANGED, format_table, measure
from train.config.training_config import TrainingConfig
from train.data.examples import to_inputs
from train.data.load import load_splits
from train.evaluation.evaluate import compute_metrics, evaluate
from train.networks.build import POOL, build_model
from train.networks.initial_weights import load_initial_weights
from train.training.loop import predictor

HEAD_EPOCHS = 20
FINE_TUNING_EPOCHS = 10
FINE_TUNING_RATE = 1e-5
DROPOUT = 0.2
ROTATION = 0.1
BATCH = 32
"""As in the guide, except for the number of epochs, which it chose for a larger data set."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the guide and the configuration, and print the table after each seed."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfer_guide", description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data set, instead of the configuration's")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (3)")
    options = parser.parse_args(arguments)
    document = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    names = (*METRICS[document.get("task", "multiclass")], "calibration error", "CPU seconds")
    contenders = {UNCHANGED: measure_guide, "fit": measure}
    rows: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for seed in range(1, options.seeds + 1):
        config = TrainingConfig.model_validate({**document, "seed": seed})
        load_splits(config, lambda *_: None, options.data)  # decodes the photos, which then costs neither of them
        for name, contender in contenders.items():
            rows[name].append(_with_cpu_seconds(contender, config, options.data))
        table = format_table({name: np.array(values) for name, values in rows.items()}, names)
        sys.stdout.write(f"\n{table.replace(UNCHANGED, 'Keras guide')}\n")
        sys.stdout.flush()


def measure_guide(config: TrainingConfig, directory: Path | None) -> list[float]:
    """Train a network as the guide does, and return its metrics on the test images.

    Args:
        config: Configuration that names the data, the network and the seed.
        directory: Folder of the data set, instead of the configuration's.
    """
    splits = load_splits(config, lambda *_: None, directory)
    labels = len(config.labels)
    train, validation, test = (
        to_inputs(part, config.input, labels) for part in (splits.train, splits.validation, splits.test)
    )
    multilabel = config.task == "multilabel"
    keras.utils.set_random_seed(config.seed)
    network = build_model(config.model, config.input.shape, labels, config.task)
    load_initial_weights(network, config.model)
    base = keras.Model(network.input, network.get_layer(POOL).output)
    base.trainable = False
    image = keras.Input(config.input.shape)
    x = layers.RandomRotation(ROTATION)(layers.RandomFlip("horizontal")(image))
    scores = layers.Dense(labels)(layers.Dropout(DROPOUT)(base(x, training=False)))
    model = keras.Model(image, scores)
    loss = (
        keras.losses.BinaryCrossentropy(from_logits=True)
        if multilabel
        else keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    for rate, epochs in ((1e-3, HEAD_EPOCHS), (FINE_TUNING_RATE, FINE_TUNING_EPOCHS)):
        model.compile(keras.optimizers.Adam(rate), loss)
        model.fit(
            np.asarray(train.images),
            train.targets,
            BATCH,
            epochs,
            verbose=0,
            validation_data=(np.asarray(validation.images), validation.targets),
        )
        base.trainable = True
    activation = layers.Activation("sigmoid" if multilabel else "softmax")
    classifier = keras.Model(image, activation(scores))
    metrics = compute_metrics(evaluate(predictor(classifier), test, 0.5 if multilabel else None), config.labels)
    metrics["mean recall"] = float(np.mean([label["recall"] or 0.0 for label in metrics["per_class"]]))
    return [metrics[name] or 0.0 for name in (*METRICS[config.task], "calibration_error")]


def _with_cpu_seconds(
    contender: Callable[[TrainingConfig, Path | None], list[float]], config: TrainingConfig, directory: Path | None
) -> list[float]:
    start_s = time.process_time()
    return [*contender(config, directory), time.process_time() - start_s]


if __name__ == "__main__":
    main()
