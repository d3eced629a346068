"""An ImageAI model behind a serverless function: base64 in JSON, sent by urllib; returns the top five and an id."""

import base64
import json
import urllib.request

PREDICT = "/api/v1/models/cifar10/predict"


def classify(url, image):
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    request = urllib.request.Request(url, data=body)  # noqa: S310  # a local URL; urllib declares the body a form
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310  # as above
        return json.loads(response.read())


def test_base64_gets_the_top_five_probabilities_and_an_id(stack, photos):
    for path, label in photos:
        answer = classify(f"{stack.url}{PREDICT}", path.read_bytes())
        best = {item["class"]: item["score"] for item in answer["predictions"]}
        assert len(best) == 5
        assert max(best, key=best.__getitem__) == label
        assert 0 <= min(best.values()) <= sum(best.values()) <= 1.000001
        assert answer["request_id"]


def test_each_response_has_a_different_id(stack, photos):
    image = photos[0][0].read_bytes()

    assert len({classify(f"{stack.url}{PREDICT}", image)["request_id"] for _ in range(3)}) == 3
