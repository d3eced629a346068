"""Classify image files with the standard library alone: python3 classify.py IMAGE..."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

GATEWAY = os.environ.get("IMAGE_GATEWAY_URL", "http://localhost:8080")
KEY = os.environ.get("IMAGE_GATEWAY_API_KEY")
RETRIES = 3
TIMEOUT_S = 30


def classify(image: bytes) -> dict[str, Any]:
    """Return the answer for an image, or the problem that prevented it."""
    headers = {"Content-Type": "application/octet-stream"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(f"{GATEWAY}/api/v1/predict?top_k=3", data=image, headers=headers)
    for attempt in range(RETRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            seconds = error.headers.get("Retry-After")
            if seconds is None or attempt == RETRIES:
                return json.load(error)
            time.sleep(float(seconds))
    raise AssertionError


def describe(answer: dict[str, Any]) -> str:
    """Return an answer or a problem as a line."""
    if "score" not in answer:
        return f"{answer['title']}: {answer['detail']}"
    perhaps = "perhaps " if answer.get("confident") is False else ""
    return f"{perhaps}{answer['label']} {answer['score']:.3f}"


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print(f"{path}: {describe(classify(Path(path).read_bytes()))}")
