"""A ResNet behind Flask or FastAPI: `curl -F image=@…`; returns the top five under `predictions`."""

import json
import subprocess

PREDICT = "/api/v1/models/cifar10/predict"


def test_curl_gets_the_top_five(stack, photos):
    for path, label in photos:
        command = ["curl", "-sS", "-X", "POST", "-F", f"image=@{path}", f"{stack.url}{PREDICT}"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)
        scores = [item["score"] for item in answer["predictions"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert answer["predictions"][0]["class"] == label
