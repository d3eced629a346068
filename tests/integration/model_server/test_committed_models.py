"""What people type at the REST port, answered by both forms of a committed model."""

import base64
import json

import numpy as np
import pytest

from tools.committed_models import golden_images, newest_version

FORMS = {"saved_model": "--prefer_tflite_model=false", "tflite": "--prefer_tflite_model=true"}
GOLDEN = golden_images("digits")
PREDICT = "/v1/models/digits:predict"


@pytest.fixture(scope="module", params=FORMS)
def server(request, start_server):
    model = ("--model_name=digits", f"--model_base_path={newest_version('digits').parent}")
    return start_server(*model, FORMS[request.param]).wait_until_serving()


def golden():
    """Return the file of an image and its class."""
    entry = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))["images"][6]
    return (GOLDEN / entry["file"]).read_bytes(), entry["class_id"]


@pytest.mark.parametrize("instances", [[1], [[1, 2, 3]], [[[[0]] * 27] * 28]])
def test_pixels_of_a_wrong_shape_are_refused_and_the_server_stays(server, instances):
    blank = np.zeros((1, 28, 28, 1), int).tolist()

    status, document = server.rest("POST", PREDICT, {"instances": instances})

    assert status >= 400, document
    assert server.rest("POST", PREDICT, {"instances": blank})[0] == 200


def test_only_the_saved_model_classifies_encoded_images(server, request):
    data, class_id = golden()
    instances = [{"image_bytes": {"b64": base64.b64encode(data).decode()}}]

    status, document = server.rest("POST", PREDICT, {"signature_name": "classify_bytes", "instances": instances})

    if request.node.callspec.params["server"] == "saved_model":
        assert np.argmax(document["predictions"][0]) == class_id
    else:
        assert (status, document) == (
            400,
            {"error": 'Serving signature name: "classify_bytes" not found in signature def'},
        )
