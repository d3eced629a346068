"""The parts of TensorFlow that the server imports, and the threads that it starts; each in a fresh interpreter."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from model_server.options import available_cpus
from tfs_api._generated.version import TENSORFLOW

ROOT = Path(__file__).parents[3]

if find_spec("tensorflow") is None:
    pytest.skip("TensorFlow is not installed", allow_module_level=True)


def run_python(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def test_a_graph_runs_without_the_python_api(saved_model):
    output = run_python(
        """
import sys
from pathlib import Path
import numpy as np
from model_server.runtime.savedmodel import SavedModel, SessionOptions
model = SavedModel(Path(sys.argv[1]), SessionOptions())
print(model.run("serving_default", {"x": np.float32([1])}, ["y"], 10.0)["y"])
print([name for name in ("keras", "tensorflow._api", "tensorflow.python.eager.def_function") if name in sys.modules])
""",
        saved_model / "1",
    )
    assert output == ["[2.5]", "[]"]


def test_the_python_api_is_imported_on_first_access():
    output = run_python("""
import model_server.runtime.tensorflow_core as core
import tensorflow as tf
from tensorflow import nn
print(tf.constant([1.0]).numpy(), nn.relu(-1.0).numpy(), tf.Graph is core.Graph, tf.errors.OpError is core.OpError)
import tensorflow
print(tensorflow.__version__)
""")
    assert output == ["[1.]", "0.0", "True", "True", TENSORFLOW]


def test_an_imported_python_api_is_reused():
    output = run_python("""
import tensorflow as tf
import model_server.runtime.tensorflow_core as core
print(tf.Graph is core.Graph, tf.constant(1).numpy())
""")
    assert output == ["True", "1"]


def test_missing_tensorflow_names_how_to_install_it():
    output = run_python("""
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "tensorflow" else real(name, *rest)
try:
    import model_server.runtime.tensorflow_core
except ModuleNotFoundError as error:
    print(error)
""")
    message = " ".join(output)
    assert message.startswith("A SavedModel needs TensorFlow, which is not installed")
    assert "Run make tensorflow or, for a container, build the image with EXTRA=tensorflow" in message


def test_an_operation_uses_half_of_the_cpus(saved_model):
    def threads(intra_op_parallelism):
        output = run_python(
            """
import os
import sys
from pathlib import Path
import numpy as np
from model_server.runtime.savedmodel import SavedModel, SessionOptions
model = SavedModel(Path(sys.argv[1]), SessionOptions(intra_op_parallelism=int(sys.argv[2])))
model.run("serving_default", {"x": np.float32([1])}, ["y"], 10.0)
print(len(os.listdir("/proc/self/task")))
""",
            saved_model / "1",
            intra_op_parallelism,
        )
        return int(output[0])

    half = max(available_cpus() // 2, 1)
    assert threads(0) == threads(half) == threads(half + 1) - 1
