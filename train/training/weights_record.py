"""The file of weights that a run was started from."""

import json
from collections.abc import Mapping
from pathlib import Path

from train.config.networks import NetworkConfig
from train.config.run_names import MODEL_FILE
from train.data.whole_file import replace_file
from train.errors import TrainError
from train.networks.initial_weights import find_weights_file
from train.networks.weights_file import hash_file

WEIGHTS_FILE = "initial_weights.json"


def record_weights(run: Path, config: NetworkConfig, path: Path | None) -> None:
    """Write name and SHA-256 of the file of the initial weights; nothing if the network starts from random ones.

    The network of an earlier run is named with the folder of that run, as `fruit/model.keras`.

    Args:
        run: Folder of the run.
        config: Configuration of the network.
        path: File that replaces the configuration's weights.

    Raises:
        OSError: A file cannot be read or written.
    """
    file = find_weights_file(config, path)
    if file is None:
        return
    name = f"{file.resolve().parent.name}/{file.name}" if file.name == MODEL_FILE else file.name
    with replace_file(run / WEIGHTS_FILE) as temporary:
        temporary.write_text(json.dumps({"file": name, "sha256": hash_file(file)}), encoding="utf-8")


def read_weights_record(run: Path) -> Mapping[str, str] | None:
    """Return `file` and `sha256` of the initial weights of a run; None without a record.

    Raises:
        TrainError: The record is damaged.
    """
    path = run / WEIGHTS_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {key: str(record[key]) for key in ("file", "sha256")}
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(
            f"{path} is damaged; delete it, which leaves the initial weights unnamed in the card"
        ) from error
