"""FastAPI on uvicorn, OpenCV, and Keras in process: `uvicorn bench.alternatives.fastapi_keras:app`."""

from typing import Any

from fastapi import FastAPI, UploadFile

from bench.alternatives.keras_network import answer, load
from bench.alternatives.preparing import by_opencv

app = FastAPI()
network = load()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """Classify the part `image`; a function without async is run by a pool of threads."""
    return {"predictions": answer(network(by_opencv(image.file.read())))}


@app.get("/ready")
def ready() -> str:
    """Tell that it can be asked."""
    return "ready"
