"""The official TensorFlow and TensorFlow Serving protos, loaded without importing TensorFlow.

The modules of the tensorflow-serving-api wheel import their dependencies as `tensorflow.core...`, which normally
executes `tensorflow/__init__.py`: seconds, and hundreds of megabytes. Here they find the same modules, vendored from
the TensorFlow wheel by tools/vendor_protos.py, below an empty module object `tensorflow` that is removed once this
module has been imported. A later `import tensorflow` works as usual. If TensorFlow has been imported before, its own
modules are used. The message classes are the same in both cases: protobuf has one class per message type and process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tfs_api._generated import version
from tfs_api.versions import check_versions, installed_versions

_VENDORED = Path(__file__).parent / "_generated" / "tensorflow"


def _tensorflow_entries() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tensorflow"}


@contextmanager
def _import_only_protos() -> Iterator[None]:
    """Let `import tensorflow.<path>_pb2` find the vendored modules, unless TensorFlow has been imported.

    Raises:
        ImportError: The vendored modules are of another release than the installed TensorFlow.
    """
    previous = _tensorflow_entries()
    if previous.get("tensorflow") is not None:
        yield
        return
    check_versions(version.TENSORFLOW, installed_versions())
    stub = ModuleType("tensorflow")
    stub.__path__ = [str(_VENDORED)]
    sys.modules["tensorflow"] = stub
    try:
        yield
    finally:
        # The vendored folders contain nothing but protos: TensorFlow must not find them as its own packages.
        for name in _tensorflow_entries():
            del sys.modules[name]
        sys.modules.update(previous)


with _import_only_protos():
    from tensorflow.core.example import example_pb2, feature_pb2
    from tensorflow.core.framework import attr_value_pb2, graph_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_pb2,
        predict_pb2,
        prediction_log_pb2,
        regression_pb2,
        status_pb2,
    )
    from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

__all__ = [
    "attr_value_pb2",
    "classification_pb2",
    "error_codes_pb2",
    "example_pb2",
    "feature_pb2",
    "file_system_storage_path_source_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "graph_pb2",
    "inference_pb2",
    "input_pb2",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_pb2",
    "model_server_config_pb2",
    "predict_pb2",
    "prediction_log_pb2",
    "regression_pb2",
    "saved_model_pb2",
    "status_pb2",
    "tensor_pb2",
    "tensor_shape_pb2",
    "types_pb2",
]
