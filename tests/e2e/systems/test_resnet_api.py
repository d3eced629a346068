"""A ResNet behind Flask or FastAPI: `curl -F image=@…`; returns the top five under `predictions`."""

import json
import subprocess


def test_curl_gets_the_top_five(stack, photos):
    for path, label in photos:
        command = ["curl", "-sS", "-X", "POST", "-F", f"image=@{path}", stack.predict_url]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)
        scores = [item["score"] for item in answer["predictions"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert answer["predictions"][0]["class"] == label
