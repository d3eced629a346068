"""Run an ONNX file with ONNX Runtime."""

from pathlib import Path

import onnxruntime

from bench.alternatives.engine import Images, Predict, Scores, run_once


def load(path: Path, max_batch: int) -> Predict:  # noqa: ARG001  # the session takes any number of images
    """Load a network."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Images) -> Scores:
        result: Scores = session.run(None, {"image": images})[0]
        return result

    run_once(predict)
    return predict
