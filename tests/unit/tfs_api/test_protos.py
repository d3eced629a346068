"""Modules loaded by importing tfs_api.protos. Each case needs a new interpreter."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

HIDE_TENSORFLOW = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow" or (name.startswith("tensorflow.") and "_generated" not in str(path)):
            raise ModuleNotFoundError(f"{name} is hidden", name=name)
sys.meta_path.insert(0, Hidden())
"""


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def test_tensorflow_itself_is_not_executed():
    executed = run_python("""
import sys
import tfs_api.tensors
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
print([file for file in files if "/site-packages/tensorflow/" in file])
heavy = {"tensorflow", "keras", "absl", "h5py", "ml_dtypes"}
print([name for name in sys.modules if name.partition(".")[0] in heavy])
""")

    assert executed.split() == ["[]", "[]"]


def test_protos_work_without_tensorflow_installed():
    dtype = run_python(f"""{HIDE_TENSORFLOW}
from tfs_api.protos import predict_pb2, types_pb2
request = predict_pb2.PredictRequest()
request.inputs["x"].dtype = types_pb2.DT_FLOAT
print(predict_pb2.PredictRequest.FromString(request.SerializeToString()).inputs["x"].dtype)
try:
    import tensorflow
except ModuleNotFoundError:
    print("hidden")
""")

    assert dtype.split() == ["1", "hidden"]


def test_a_blocked_tensorflow_remains_blocked():
    entry = run_python("""
import sys
sys.modules["tensorflow"] = None
import tfs_api.protos
print(sys.modules["tensorflow"])
""")

    assert entry.strip() == "None"


SHARED_CLASSES = """
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2
assert tensor_pb2.TensorProto is protos.tensor_pb2.TensorProto
assert predict_pb2.PredictRequest is protos.predict_pb2.PredictRequest
request = protos.predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
assert tf.make_ndarray(request.inputs["x"]).tolist() == [1.0, 2.0]
assert tf.constant([3]).numpy().tolist() == [3]
print("same classes")
"""


def test_tensorflow_imported_afterwards_shares_the_message_classes():
    output = run_python(f"""
from tfs_api import protos
before = protos.tensor_pb2.TensorProto
import tensorflow as tf
{SHARED_CLASSES}""")

    assert output.strip() == "same classes"


def test_tensorflow_imported_before_is_used():
    output = run_python(f"""
import tensorflow as tf
from tfs_api import protos
assert "_generated" not in protos.tensor_pb2.__file__
{SHARED_CLASSES}""")

    assert output.strip() == "same classes"
