"""The parts of TensorFlow that run a graph. This is the only module of the server that imports TensorFlow.

`import tensorflow` executes its whole Python API, Keras included: 5 s and 130 MB that running a graph does not need.
Importing only the session takes 1.3 s. For that, `tensorflow` is registered in sys.modules as a package with a path
but without content. The first access to one of its attributes, anywhere in the process, imports the real package.
The imported names are private to the TensorFlow version that pyproject.toml pins.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_DUNDER_API = frozenset({"__internal__", "__version__"})
"""Attributes of TensorFlow that look like Python's own; Keras uses the first."""


class _UnexecutedPackage(ModuleType):
    """The package `tensorflow` until its `__init__` runs, on the first access to an attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _DUNDER_API:  # the import system looks these up
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _register_unexecuted(name: str) -> None:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(
            "A SavedModel needs TensorFlow, which is not installed. Run make tensorflow or, for a container, build the "
            "image with EXTRA=tensorflow (in Compose: MODEL_SERVER_EXTRA=tensorflow). Or serve versions with "
            "model.tflite and the flag --prefer_tflite_model",
            name=name,
        )
    package = _UnexecutedPackage(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; TensorFlow reads it when it is loaded
if "tensorflow" not in sys.modules:
    _register_unexecuted("tensorflow")

from tensorflow.core.protobuf.config_pb2 import ConfigProto, RunMetadata, RunOptions  # noqa: E402  # needs the lines above
from tensorflow.python.client import pywrap_tf_session  # noqa: E402  # as above
from tensorflow.python.client.session import Session  # noqa: E402  # as above
from tensorflow.python.framework import op_def_registry  # noqa: E402  # as above
from tensorflow.python.framework.errors import OpError  # noqa: E402  # as above
from tensorflow.python.framework.importer import import_graph_def  # noqa: E402  # as above
from tensorflow.python.framework.ops import Graph  # noqa: E402  # as above

__all__ = [
    "ConfigProto",
    "Graph",
    "OpError",
    "RunMetadata",
    "RunOptions",
    "Session",
    "import_graph_def",
    "op_def_registry",
    "pywrap_tf_session",
]
