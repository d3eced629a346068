"""Flask on gunicorn, Pillow, and Keras in process: `gunicorn bench.alternatives.flask_keras:app`."""

from flask import Flask, Response, jsonify, request

from bench.alternatives.keras_network import answer, load
from bench.alternatives.preparing import by_pillow

app = Flask(__name__)
network = load()


@app.post("/predict")
def predict() -> Response:
    """Classify the part `image`."""
    return jsonify({"predictions": answer(network(by_pillow(request.files["image"].read())))})


@app.get("/ready")
def ready() -> str:
    """Tell that it can be asked."""
    return "ready"
