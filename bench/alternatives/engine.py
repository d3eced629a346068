"""What the engines of the alternatives have in common.

An engine is a module with a function `load(path, max_batch)`. It reads a network file, runs it once, and returns a
`Predict` that threads may call at the same time; each call computes in one thread.
"""

import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.alternatives.preprocessing import SIDE

Images: TypeAlias = npt.NDArray[np.uint8]
"""uint8[N, 224, 224, 3]"""
Scores: TypeAlias = npt.NDArray[np.float32]
"""float32[N, 1000]"""
Predict: TypeAlias = Callable[[Images], Scores]

KERAS, ONNX, OPENVINO_INT8_FILE = "network.keras", "network.onnx", "network_int8.xml"
"""Files of the network; the second one is in float32, as the first."""
PROCESSORS = len(os.sched_getaffinity(0))


def run_once(predict: Predict) -> None:
    """Run a network before the first request, which would otherwise wait for its compilation."""
    predict(np.zeros((1, SIDE, SIDE, 3), np.uint8))
