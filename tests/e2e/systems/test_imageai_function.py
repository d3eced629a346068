"""An ImageAI model behind a serverless function: base64 in JSON, sent by urllib; the best five and a response id."""

import base64
import json
import urllib.request


def ask(url, picture):
    body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
    request = urllib.request.Request(url, data=body)  # noqa: S310  # of ours; urllib calls the body a form
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310  # as above
        return json.loads(response.read())


def test_base64_gives_the_best_five_with_probabilities_and_an_id(stack, photos):
    for path, label in photos:
        answer = ask(stack.predict_url, path.read_bytes())
        best = {item["class"]: item["score"] for item in answer["predictions"]}
        assert len(best) == 5
        assert max(best, key=best.__getitem__) == label
        assert 0 <= min(best.values()) <= sum(best.values()) <= 1.000001
        assert answer["request_id"]


def test_each_answer_has_an_id_of_its_own(stack, photos):
    picture = photos[0][0].read_bytes()
    assert len({ask(stack.predict_url, picture)["request_id"] for _ in range(3)}) == 3
