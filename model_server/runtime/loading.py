"""Load a version in the form that the flags select: TensorFlow Lite or SavedModel.

TensorFlow is imported only when a SavedModel is loaded. It takes seconds and 200 MB, and need not be installed.
"""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from model_server.errors import FailedPreconditionError, ServingError
from model_server.memory import MemoryBudget
from model_server.options import Options
from model_server.servable import Servable
from model_server.versions import repository
from model_server.versions.repository import TFLITE_FILE, ModelConfig, is_served_by_tflite

if TYPE_CHECKING:
    from types import ModuleType

_LOG = logging.getLogger(__name__)
_IMPORTING = threading.Lock()
"""Of two threads that import one module, the second gets an ImportError without the cause if the first fails."""


def load_version(path: Path, options: Options, memory: MemoryBudget) -> Servable:
    """Load a version, from `model.tflite` if `options` prefer it and it is there.

    Args:
        path: Directory of the version.
        options: The server's flags.
        memory: Memory for the computations of all models.

    Raises:
        ServingError: The version cannot be loaded.
    """
    if is_served_by_tflite(path, prefer_tflite=options.prefer_tflite_model):
        return _load_tflite(path / TFLITE_FILE, options, memory)
    return _load_saved_model(path, options, memory)


def _load_tflite(file: Path, options: Options, memory: MemoryBudget) -> Servable:
    from model_server.runtime.tflite.model import TfliteModel  # noqa: PLC0415  # 40 MB that SavedModels do not need

    interpreters = max(options.num_tflite_pools, 1)
    _LOG.info("Reading TensorFlow Lite model from: %s (interpreters: %d)", file, interpreters)
    return TfliteModel(file, interpreters=interpreters, memory=memory)


def _load_saved_model(path: Path, options: Options, memory: MemoryBudget) -> Servable:
    _LOG.info("Reading SavedModel from: %s", path)
    runtime = _import_runtime()
    session = runtime.SessionOptions(
        intra_op_parallelism=options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism,
        inter_op_parallelism=options.tensorflow_inter_op_parallelism or options.tensorflow_session_parallelism,
        tags=tuple(options.saved_model_tags.split(",")),
        memory=memory,
    )
    model: Servable = runtime.SavedModel(path, session)
    return model


def import_tensorflow_if_needed(configs: Iterable[ModelConfig], *, prefer_tflite: bool) -> None:
    """Import TensorFlow if a version that is on disk will be served from its SavedModel.

    The import takes more than a second. At start-up, polls of the models' directories take as long.
    """
    if any(_needs_tensorflow(config, prefer_tflite=prefer_tflite) for config in configs):
        try:
            _import_runtime()
        except FailedPreconditionError:  # the status of the version tells it
            return


def _needs_tensorflow(config: ModelConfig, *, prefer_tflite: bool) -> bool:
    try:
        paths = repository.scan(config.base_path)
    except ServingError:  # the polls log it
        return False
    versions = config.policy.choose(frozenset(paths))
    return any(not is_served_by_tflite(paths[version], prefer_tflite=prefer_tflite) for version in versions)


def _import_runtime() -> "ModuleType":
    try:
        with _IMPORTING:
            from model_server.runtime import savedmodel  # noqa: PLC0415  # TensorFlow
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(str(error)) from error
    return savedmodel
