"""Serve Keras in process with Flask and Pillow: `gunicorn bench.alternatives.flask_keras:app`."""

from flask import Flask, Response, jsonify, request

from bench.alternatives.keras_network import load, top_classes
from bench.alternatives.preparing import by_pillow

app = Flask(__name__)
network = load()


@app.post("/predict")
def predict() -> Response:
    """Classify the part `image`."""
    return jsonify({"predictions": top_classes(network(by_pillow(request.files["image"].read())))})


@app.get("/ready")
def ready() -> str:
    """Report that requests are accepted."""
    return "ready"
