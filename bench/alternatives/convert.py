"""Convert the Keras file for the other engines: `python -m bench.alternatives.convert FOLDER`.

It writes network.onnx in float32, for ONNX Runtime and OpenVINO, and network_int8.xml for OpenVINO, calibrated on the
images from which our int8 is calibrated. Both take uint8 and normalize it, as the SavedModel does.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import nncf
import openvino
import tensorflow as tf
import tf2onnx

from bench.alternatives.engine import KERAS, ONNX, OPENVINO_INT8_FILE
from bench.alternatives.preprocessing import SIDE, by_opencv

_OPSET = 17


def main(folder: Path) -> None:
    """Convert network.keras with the images in the folder pictures."""
    network: Any = keras.models.load_model(folder / KERAS, compile=False)
    spec = tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")
    scores = tf.function(lambda images: network(tf.cast(images, tf.float32) / 127.5 - 1, training=False), [spec])
    tf2onnx.convert.from_function(scores, [spec], opset=_OPSET, output_path=str(folder / ONNX))

    pictures = [by_opencv(path.read_bytes()) for path in sorted((folder / "pictures").iterdir())]
    float32 = openvino.Core().read_model(folder / ONNX)
    int8 = nncf.quantize(float32, nncf.Dataset(pictures), subset_size=len(pictures))
    openvino.save_model(int8, folder / OPENVINO_INT8_FILE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
