"""Run a gateway as tutorials write it: `python -m bench.alternatives.tutorial_gateway PORT`.

It stands in front of the same model server, and uses Flask's development server, a channel per request, Pillow, and
TensorFlow for one function.
"""

import os
import sys

import grpc
import numpy as np
import tensorflow as tf
from flask import Flask, Response, jsonify, request

from bench.alternatives.postprocessing import top_classes
from bench.alternatives.preprocessing import by_pillow
from tfs_api.protos import predict_pb2
from tfs_api.services import prediction_service_pb2_grpc

app = Flask(__name__)
TIMEOUT_S = 20.0


@app.post("/predict")
def predict() -> Response:
    """Classify the part `image`."""
    image = by_pillow(request.files["image"].read())
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "photos"
    message.model_spec.signature_name = "serving_default"
    message.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
    with grpc.insecure_channel(os.environ["BENCH_TARGET"]) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=TIMEOUT_S)
    return jsonify({"predictions": top_classes(np.array(response.outputs["probabilities"].float_val, np.float32))})


@app.get("/ready")
def ready() -> str:
    """Report that requests are accepted."""
    return "ready"


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
