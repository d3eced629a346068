"""The official TensorFlow and TensorFlow Serving protos, loaded without importing TensorFlow.

The modules of the tensorflow-serving-api wheel import their dependencies as `tensorflow.core...`, which
the plain way runs `tensorflow/__init__.py`: seconds, and hundreds of megabytes. Here they find the same
modules, vendored from the TensorFlow wheel by tools/vendor_protos.py, under a module object `tensorflow`
that is empty and gone again when this module has been imported. A later `import tensorflow` runs as ever.
Where TensorFlow was imported before, its own modules are used. The message classes are the same ones in
every case: protobuf keeps one class for each message type of the process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_VENDORED = Path(__file__).parent / "_generated" / "tensorflow"


def _tensorflow_entries() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tensorflow"}


@contextmanager
def _tensorflow_is_protos_only() -> Iterator[None]:
    """Let `import tensorflow.<path>_pb2` find the vendored modules, unless TensorFlow is already there."""
    before = _tensorflow_entries()
    if before.get("tensorflow") is not None:
        yield
        return
    stub = ModuleType("tensorflow")
    stub.__path__ = [str(_VENDORED)]
    sys.modules["tensorflow"] = stub
    try:
        yield
    finally:
        # The vendored folders lack everything but protos: TensorFlow must not find them as its own packages.
        for name in _tensorflow_entries():
            del sys.modules[name]
        sys.modules.update(before)


with _tensorflow_is_protos_only():
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
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
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
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "regression_pb2",
    "saved_model_pb2",
    "status_pb2",
    "tensor_pb2",
    "tensor_shape_pb2",
    "types_pb2",
]
