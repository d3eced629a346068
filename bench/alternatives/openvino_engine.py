"""Run a network with OpenVINO: an ONNX file in float32, or what `quantize` writes in int8."""

import threading
from pathlib import Path

import openvino

from bench.alternatives.engine import PROCESSORS, Images, Predict, Scores, run_once
from bench.alternatives.preprocessing import SIDE

_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}  # bfloat16 is the default on processors that compute with it


def load(path: Path, max_batch: int) -> Predict:
    """Load a network; without batching its shape is fixed, which is faster."""
    core = openvino.Core()
    network = core.read_model(path)
    network.reshape([1 if max_batch == 1 else -1, SIDE, SIDE, 3])
    streams = {"NUM_STREAMS": PROCESSORS, "INFERENCE_NUM_THREADS": PROCESSORS}
    compiled = core.compile_model(network, "CPU", streams | (_FLOAT32 if path.suffix == ".onnx" else {}))
    local = threading.local()

    def predict(images: Images) -> Scores:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        result: Scores = local.request.infer([images], share_inputs=True)[0]
        return result

    run_once(predict)
    return predict
