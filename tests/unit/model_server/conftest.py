"""Models without TensorFlow."""

import contextlib
import threading
from functools import partial

import numpy as np
import pytest

from model_server.errors import ServingError
from model_server.versions.lifecycle import State, VersionStatus, servable_not_found
from tests.support.waiting import until
from tfs_api.protos import meta_graph_pb2, types_pb2


def signature_def(inputs, outputs, defaults=None):
    """Make a SignatureDef from name -> (DataType name, shape)."""
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for field, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, (data_type, shape) in tensors.items():
            field[name].name = f"{name}_node:0"
            field[name].dtype = types_pb2.DataType.Value(data_type)
            for size in shape:
                field[name].tensor_shape.dim.add(size=size)
    for name, proto in (defaults or {}).items():
        signature.defaults[name].CopyFrom(proto)
    return signature


class FakeServable:
    """Computes 2 x, plus 2 b if there is an input b; can be paused."""

    def __init__(self, signatures=None):
        floats = ("DT_FLOAT", [-1])
        self.signatures = signatures or {"serving_default": signature_def({"x": floats}, {"y": floats})}
        self.calls = []
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.working = threading.Event()
        self.closed = False
        self.error = None

    def run(self, signature, inputs, outputs, timeout_s):
        self.calls.append((signature, inputs, outputs, timeout_s))
        self.working.set()
        assert self.may_finish.wait(10)
        assert not self.closed
        if self.error:
            raise self.error
        total = sum((np.asarray(array) * 2 for array in inputs.values()), np.float32(0))
        return dict.fromkeys(outputs, total)

    def close(self):
        self.closed = True


class FakeModels:
    """Version 3 of one model, `half`, with label `stable`."""

    def __init__(self, servable):
        self.servable = servable
        self.leased = 0
        self.reloads = []

    @contextlib.contextmanager
    def lease(self, name, version=None, label=None):
        if name != "half" or version not in (None, 3) or label not in (None, "stable"):
            raise servable_not_found(name, version)
        self.leased += 1
        try:
            yield 3, self.servable
        finally:
            self.leased -= 1

    def statuses(self, name, version=None):
        if name != "half" or version not in (None, 3):
            raise ServingError(f"no {name}", code=5)
        return [VersionStatus(3, State.AVAILABLE)]

    def reload(self, configs, timeout_s=None):
        self.reloads.append((configs, timeout_s))


@pytest.fixture(name="signature_def", scope="session")
def signature_def_fixture():
    return signature_def


@pytest.fixture(name="servable_class", scope="session")
def fake_servable_class():
    return FakeServable


@pytest.fixture
def servable():
    return FakeServable()


@pytest.fixture
def models(servable):
    return FakeModels(servable)


@pytest.fixture
def wait_for():
    """Return a function that waits for a condition to be true."""

    return partial(until, within_s=20)
