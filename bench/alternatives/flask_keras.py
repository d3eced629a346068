"""Serve Keras in process with Flask and Pillow: `gunicorn bench.alternatives.flask_keras:app`."""

import os
from pathlib import Path

from flask import Flask, Response, jsonify, request

from bench.alternatives.keras_engine import load
from bench.alternatives.postprocessing import top_classes
from bench.alternatives.preprocessing import by_pillow

app = Flask(__name__)
predict_scores = load(Path(os.environ["BENCH_NETWORK"]), max_batch=1)


@app.post("/predict")
def predict() -> Response:
    """Classify the part `image`."""
    return jsonify({"predictions": top_classes(predict_scores(by_pillow(request.files["image"].read()))[0])})


@app.get("/ready")
def ready() -> str:
    """Report that requests are accepted."""
    return "ready"
