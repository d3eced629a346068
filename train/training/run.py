"""The folder of a training run: its configuration, checkpoint, log and trained network."""

import shutil
from pathlib import Path

import keras

from train.config.training_config import TrainingConfig, load_config
from train.errors import TrainError
from train.training.loop import MODEL_FILE

CONFIG_FILE = "config.yaml"


def start_run(config_path: Path, run: Path, *, resume: bool = False) -> None:
    """Create the folder with a copy of the configuration, and delete the network of an earlier run.

    Raises:
        TrainError: The run to resume was started with another configuration.
        OSError: The folder cannot be written.
    """
    if resume and (run / CONFIG_FILE).exists() and load_config(run / CONFIG_FILE) != load_config(config_path):
        raise TrainError(
            f"{run} was started with another configuration than {config_path}; start it again without --resume"
        )
    run.mkdir(parents=True, exist_ok=True)
    (run / MODEL_FILE).unlink(missing_ok=True)
    shutil.copyfile(config_path, run / CONFIG_FILE)


def load_run(run: Path) -> tuple[TrainingConfig, keras.Model]:
    """Load the configuration and the network of a finished run.

    Raises:
        TrainError: The folder is not that of a finished run.
    """
    if not (run / CONFIG_FILE).exists():
        raise TrainError(f"{run} is not the folder of a run; {_list_finished(run)}")
    config = load_config(run / CONFIG_FILE)
    path = run / MODEL_FILE
    if not path.exists():
        raise TrainError(
            f"{path} does not exist: the run is not finished; continue it with `python -m train fit CONFIG --resume`"
        )
    return config, keras.models.load_model(path)


def _list_finished(folder: Path) -> str:
    """Name the finished runs in a folder or, if there is none, beside it."""
    models = [*folder.glob(f"*/{MODEL_FILE}")] or [*folder.parent.glob(f"*/{MODEL_FILE}")]
    finished = sorted(path.parent for path in models)
    if not finished:
        return "train one with `python -m train fit CONFIG`"
    return f"finished runs are {', '.join(map(str, finished))}"
