"""Serve a network in process with FastAPI and OpenCV: `uvicorn bench.alternatives.fastapi_app:app`.

BENCH_ENGINE names the module of `bench.alternatives` that runs the network, BENCH_NETWORK its file. BENCH_MAX_BATCH is
the largest number of images in a call, 1 for no batching.
"""

import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, UploadFile

from bench.alternatives.batching import Batcher
from bench.alternatives.engine import PROCESSORS
from bench.alternatives.postprocessing import top_classes
from bench.alternatives.preprocessing import by_opencv

max_batch = int(os.environ["BENCH_MAX_BATCH"])
engine = importlib.import_module(f"bench.alternatives.{os.environ['BENCH_ENGINE']}")
predict_scores = engine.load(Path(os.environ["BENCH_NETWORK"]), max_batch)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Compute as many requests at once as there are processors; with batching more of them wait in threads."""
    if max_batch == 1:
        current_default_thread_limiter().total_tokens = PROCESSORS
    yield


if max_batch > 1:
    predict_scores = Batcher(predict_scores, max_batch)
cv2.setNumThreads(1)  # concurrent requests use the processors with less overhead
app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """Classify the part `image`; FastAPI runs functions without `async` in a thread pool."""
    return {"predictions": top_classes(predict_scores(by_opencv(image.file.read()))[0])}


@app.get("/ready")
def ready() -> str:
    """Report that requests are accepted."""
    return "ready"
