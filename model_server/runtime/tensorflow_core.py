"""The parts of TensorFlow that run a graph. This is the only module of the server that imports TensorFlow.

`import tensorflow` executes its whole Python API, Keras included: 5 s and 130 MB that running a graph has no
use for; the session with what it needs takes 1.3 s. To get at it, `tensorflow` is first entered into sys.modules as
a package that has a place and no content; whoever then asks it for a name, anywhere in the process, gets the real
one. What is imported is private to the TensorFlow that pyproject.toml pins.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_DUNDER_API = frozenset({"__internal__", "__version__"})
"""Names of TensorFlow that look like Python's; Keras asks for the first."""


class _UnexecutedPackage(ModuleType):
    """The package `tensorflow` before its `__init__` runs, which is when somebody wants something of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _DUNDER_API:  # the import system's own questions
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _enter_unexecuted(name: str) -> None:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(
            f"{name} is not installed; install the extra: uv sync --extra model-server", name=name
        )
    package = _UnexecutedPackage(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; it is read when TensorFlow is loaded
if "tensorflow" not in sys.modules:
    _enter_unexecuted("tensorflow")

from tensorflow.core.protobuf.config_pb2 import ConfigProto, RunOptions  # noqa: E402  # needs the lines above
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
    "RunOptions",
    "Session",
    "import_graph_def",
    "op_def_registry",
    "pywrap_tf_session",
]
