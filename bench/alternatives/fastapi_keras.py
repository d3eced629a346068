"""Serve Keras in process with FastAPI and OpenCV: `uvicorn bench.alternatives.fastapi_keras:app`."""

from typing import Any

from fastapi import FastAPI, UploadFile

from bench.alternatives.keras_network import load, top_classes
from bench.alternatives.preparing import by_opencv

app = FastAPI()
network = load()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """Classify the part `image`; FastAPI runs functions without `async` in a thread pool."""
    return {"predictions": top_classes(network(by_opencv(image.file.read())))}


@app.get("/ready")
def ready() -> str:
    """Report that requests are accepted."""
    return "ready"
