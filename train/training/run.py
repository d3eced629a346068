"""The folder that one training run leaves: its configuration, checkpoint, log and trained network."""

import shutil
from pathlib import Path

import keras

from train.config.training_config import TrainingConfig, load_config
from train.errors import TrainError
from train.training.loop import MODEL_FILE

CONFIG_FILE = "config.yaml"


def start_run(config_path: Path, run: Path, *, resume: bool = False) -> None:
    """Make the folder, with a copy of the configuration and without the network of an earlier run.

    Raises:
        TrainError: A run that shall be resumed was begun with another configuration.
        OSError: It cannot be written.
    """
    if resume and (run / CONFIG_FILE).exists() and load_config(run / CONFIG_FILE) != load_config(config_path):
        raise TrainError(f"{run} was begun with another configuration than {config_path}; start it anew")
    run.mkdir(parents=True, exist_ok=True)
    (run / MODEL_FILE).unlink(missing_ok=True)
    shutil.copyfile(config_path, run / CONFIG_FILE)


def load_run(run: Path) -> tuple[TrainingConfig, keras.Model]:
    """Return a finished run's configuration and network.

    Raises:
        TrainError: The folder is none of a finished run.
    """
    config = load_config(run / CONFIG_FILE)
    path = run / MODEL_FILE
    if not path.exists():
        raise TrainError(f"{path} does not exist: the run was not finished; start it again with `python -m train fit`")
    return config, keras.models.load_model(path)
