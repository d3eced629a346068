"""The configuration and the trained network of a run."""

import zipfile
from pathlib import Path

import keras

from train.commands import train_command
from train.config.run_names import CONFIG_FILE, MODEL_FILE
from train.config.training_config import TrainingConfig, load_config
from train.errors import TrainError
from train.training.run_folder import NEW, OLD, complete_replacement


def load_run(run: Path) -> tuple[TrainingConfig, keras.Model]:
    """Load the configuration and the network of a finished run.

    Raises:
        TrainError: The folder is not that of a finished run, or its network is damaged.
    """
    complete_replacement(run)
    if not (run / CONFIG_FILE).exists():
        raise TrainError(f"{run} is not the folder of a run; {_list_finished(run)}")
    config = load_config(run / CONFIG_FILE)
    path = run / MODEL_FILE
    if not path.exists():
        raise TrainError(
            f"{path} does not exist: the run is not finished; continue it with `python -m train fit CONFIG --resume`"
        )
    try:
        return config, keras.models.load_model(path)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise TrainError(
            f"{path} is damaged or cannot be read; train again, or delete it and write it anew with"
            f" `{train_command('fit', run, '--resume')}`"
        ) from error


def _list_finished(folder: Path) -> str:
    """Name the finished runs in a folder or, if there is none, beside it."""
    models = [*folder.glob(f"*/{MODEL_FILE}")] or [*folder.parent.glob(f"*/{MODEL_FILE}")]
    finished = sorted(path.parent for path in models if path.parent.suffix not in {NEW, OLD})
    if not finished:
        return "train one with `python -m train fit CONFIG`"
    return f"finished runs are {', '.join(map(str, finished))}"
