import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from gateway.model_client.protocol import Signature, TensorSpec
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, score_lightness
from vision.card import Card, InputSpec

INFER = "/v2/models/pets/infer"
JSON_BYTES = "Inference-Header-Content-Length"
PIXELS = np.arange(0, 160, 10, np.uint8).reshape(1, 4, 4, 1)
DARK = np.zeros((1, 4, 4, 1), np.uint8)


def tensor(**members: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", **members}]}


def files(*contents: bytes, **members: Any) -> dict[str, Any]:
    return tensor(shape=[len(contents)], data=[base64.b64encode(content).decode() for content in contents], **members)


def pixels(array: NDArray[Any] = PIXELS, **members: Any) -> dict[str, Any]:
    return tensor(**{"datatype": "UINT8", "shape": [*array.shape], "data": array.ravel().tolist(), **members})


def with_length(*contents: bytes) -> bytes:
    return b"".join(len(content).to_bytes(4, "little") + content for content in contents)


def post(client: FlaskClient, document: object, binary: bytes | None = None, *, path: str = INFER) -> TestResponse:
    """Send a document and, behind it, binary data."""
    text = json.dumps(document).encode()
    headers = {} if binary is None else {JSON_BYTES: str(len(text))}
    return client.post(path, data=text + (binary or b""), headers=headers)


def scores(response: TestResponse) -> list[float]:
    assert response.status_code == 200, response.text
    return response.get_json()["outputs"][0]["data"]


def error(response: TestResponse) -> str:
    assert response.status_code == 400, response.text
    (text,) = response.get_json().values()
    return text


# State and metadata


def test_the_server_describes_itself(client: FlaskClient):
    document = client.get("/v2").get_json()

    assert document["name"] == "image-gateway"
    assert document["extensions"] == ["binary_tensor_data", "classification"]


def test_health_is_that_of_the_default_model(client: FlaskClient, server: FakeModelServer):
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}

    server.away = True

    assert client.get("/v2/health/live").status_code == 200
    unready = client.get("/v2/health/ready")
    assert (unready.status_code, list(unready.get_json())) == (503, ["error"])
    assert "Retry-After" in unready.headers


@pytest.mark.parametrize("path", ["/v2/models/pets", "/v2/models/pets/versions/1"])
def test_the_metadata_of_a_model_are_its_tensors(client: FlaskClient, path: str):
    assert client.get(path).get_json() == {
        "name": "pets",
        "versions": ["1", "2"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_a_model_is_ready_if_a_version_of_it_can_be_used(client: FlaskClient):
    assert client.get("/v2/models/pets/ready").get_json() == {"name": "pets", "ready": True}
    assert client.get("/v2/models/pets/versions/2/ready").status_code == 200
    assert client.get("/v2/models/pets/versions/3/ready").status_code == 404
    assert client.get("/v2/models/cats/ready").get_json() == {"error": "No model named 'cats' is served. Served: pets."}


# Inputs


def test_files_pixels_in_json_and_pixels_as_bytes_are_classified_alike(
    client: FlaskClient, png: bytes, scores_of_png: list[float]
):
    binary_file, binary_pixels = with_length(png), PIXELS.tobytes()
    responses = [
        post(client, files(png)),
        post(client, tensor(shape=[1, 1], data=[[base64.b64encode(png).decode()]])),
        post(client, tensor(parameters={"binary_data_size": len(binary_file)}), binary_file),
        post(client, pixels()),
        post(client, pixels(data=PIXELS.tolist())),
        post(client, pixels() | {"outputs": [{"name": "probabilities"}]}),
        post(
            client,
            tensor(shape=[1, 4, 4, 1], datatype="UINT8", parameters={"binary_data_size": 16}),
            binary_pixels,
        ),
    ]

    for response in responses:
        assert scores(response) == pytest.approx(scores_of_png)


def test_the_images_of_a_batch_are_answered_in_order(client: FlaskClient, png: bytes, scores_of_png: list[float]):
    both = post(client, pixels(np.concatenate([DARK, PIXELS])))
    from_files = post(client, files(png, png))

    assert both.get_json()["outputs"][0]["shape"] == [2, 3]
    assert scores(both) == pytest.approx([*score_lightness(DARK)[0], *scores_of_png])
    assert scores(from_files) == pytest.approx(scores_of_png * 2)


def test_pixels_reach_the_model_as_they_are(client: FlaskClient, received: list[NDArray[Any]]):
    post(client, pixels())

    assert received[-1].dtype == np.uint8
    assert (received[-1] == PIXELS).all()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint16", "float16", "float32", "float64"])
def test_pixels_have_the_element_type_and_shape_of_the_models_input(
    make_app: Callable[..., Flask], server: FakeModelServer, received: list[NDArray[Any]], dtype: str
):
    spec = InputSpec(height=2, width=2, color="GRAY", dtype="float32" if "float" in dtype else "uint8")
    version = classifier(Card(name="pets", labels=("a", "b"), input=spec), constant(0.25, 0.75))
    signature = Signature({"image": TensorSpec(dtype, (None, 4))}, version.signatures["serving_default"].outputs)
    outputs = version.compute["serving_default"]
    compute = version.compute | {"serving_default": lambda inputs: received.append(inputs["image"]) or outputs(inputs)}
    server.swap("pets", 1, FakeVersion({**version.signatures, "serving_default": signature}, compute))
    client = make_app().test_client()
    tensor_metadata = client.get("/v2/models/pets").get_json()["inputs"][0]
    array = np.array([[0, 1, 2, 3]], dtype)
    members = {"datatype": tensor_metadata["datatype"], "shape": [1, 4]}

    as_json = post(client, tensor(**members, data=[0, 1, 2, 3]))
    as_bytes = post(client, tensor(**members, parameters={"binary_data_size": array.nbytes}), array.tobytes())

    assert tensor_metadata["shape"] == [-1, 4]
    assert scores(as_json) == scores(as_bytes) == [0.25, 0.75]
    assert [inputs.dtype for inputs in received[-2:]] == [np.dtype(dtype)] * 2
    assert all((inputs == array).all() for inputs in received[-2:])


def test_a_long_list_of_numbers_counts_as_one_value(
    make_app: Callable[..., Flask], server: FakeModelServer, received: list[NDArray[Any]]
):
    card = Card(name="pets", labels=("a", "b", "c"), input=InputSpec(height=100, width=100))
    server.swap("pets", 1, classifier(card, lambda images: received.append(images) or score_lightness(images)))
    client = make_app(max_json_values=100).test_client()
    array = np.random.default_rng(0).integers(0, 255, (2, 100, 100, 3), np.uint8)

    for data in (array.ravel().tolist(), array.tolist()):
        response = post(client, pixels(array, data=data))

        assert response.status_code == 200, response.text
        assert (received[-1] == array).all()


REFUSED_INPUTS = {
    "no inputs": ({}, "inputs must be a list of one object"),
    "empty inputs": ({"inputs": []}, "pets takes one input, 'image'"),
    "two inputs": ({"inputs": [{}, {}]}, "pets takes one input"),
    "not an object": ({"inputs": ["image"]}, "list of one object"),
    "unknown member": ({**pixels(), "input": 1}, "no member 'input'. Did you mean 'inputs'?"),
    "unknown member of an input": (pixels(dtype="UINT8"), "no member 'dtype'. Did you mean 'datatype'?"),
    "unknown name": (pixels(name="img"), "There is no input 'img': pets has the input 'image'."),
    "no name": (pixels(name=None), "There is no input without a name"),
    "unknown datatype": (pixels(datatype="BOOL"), "datatype must be one of BYTES, UINT8"),
    "datatype of a list": (pixels(datatype=["UINT8"]), "datatype must be one of"),
    "another datatype": (pixels(datatype="FP32"), "pets takes uint8[N, 4, 4, 1], or image files as BYTES[N]; float32"),
    "another rank": (pixels(shape=[1, 16]), "uint8[1, 16] arrived"),
    "no rank": (pixels(shape=[]), "shape must be a list"),
    "another size": (pixels(shape=[1, 2, 8, 1]), "uint8[1, 2, 8, 1] arrived"),
    "no rows": (pixels(shape=[0, 4, 4, 1], data=[]), "whole numbers of at least 1"),
    "negative dimension": (pixels(shape=[-1, 4, 4, 1]), "whole numbers of at least 1"),
    "boolean dimension": (pixels(shape=[True, 4, 4, 1]), "whole numbers of at least 1"),
    "fraction": (pixels(shape=[1.0, 4, 4, 1]), "whole numbers of at least 1"),
    "many dimensions": (pixels(shape=[1] * 100), "shape must be a list"),
    "too few numbers": (
        pixels(data=[1, 2]),
        "a list of 16 numbers, flat or nested as the shape [1, 4, 4, 1]. This has",
    ),
    "another nesting": (pixels(data=PIXELS.reshape(1, 16).tolist()), "This has the shape [1, 16]"),
    "strings as numbers": (pixels(data=["1"] * 16), "a list of 16 numbers"),
    "no data": (pixels(data=None), "a list of 16 numbers"),
    "too large": (pixels(data=[256] * 16), "not a whole number from 0 to 255"),
    "not whole": (pixels(data=[0.5] * 16), "not a whole number from 0 to 255"),
    "files with sides": (tensor(shape=[1, 2], data=["QUJD"]), "The shape of image files is [N], not [1, 2]"),
    "too few files": (tensor(shape=[2], data=["QUJD"]), "a list of 2 image files as strings of base64"),
    "numbers as files": (tensor(data=[1]), "a list of 1 image files"),
    "a file without list": (tensor(data="QUJD"), "a list of 1 image files"),
    "not base64": (tensor(data=["!!"]), "The field 'inputs[0].data[0]' is not valid base64"),
    "shared memory": (
        pixels(parameters={"shared_memory_region": "a"}),
        "There is no parameter 'shared_memory_region'. Accepted: binary_data_size, content_type.",
    ),
    "parameters of a list": (pixels(parameters=[]), "parameters must be an object"),
    "data twice": (pixels(parameters={"binary_data_size": 16}), "Send either data, or binary_data_size"),
    "id of a number": ({**pixels(), "id": 5}, "id must be a short string"),
    "long id": ({**pixels(), "id": "a" * 5000}, "id must be a short string"),
}


@pytest.mark.parametrize("name", REFUSED_INPUTS)
def test_an_input_that_does_not_fit_is_refused_before_the_model_server_is_called(
    client: FlaskClient, server: FakeModelServer, name: str
):
    client.get("/v2/health/ready")  # the version is checked
    calls = server.calls["predict"]
    document, text = REFUSED_INPUTS[name]

    assert text in error(post(client, document))
    assert server.calls["predict"] == calls


@pytest.mark.parametrize(
    ("size", "binary", "text"),
    [
        (16, PIXELS.tobytes() + b"x", "17 bytes follow the JSON; binary_data_size is 16"),
        (17, PIXELS.tobytes(), "16 bytes follow the JSON; binary_data_size is 17"),
        (15, PIXELS.tobytes()[1:], "binary_data_size is 15; UINT8[1, 4, 4, 1] takes 16 bytes"),
        (-16, PIXELS.tobytes(), "binary_data_size is -16"),
        ("16", PIXELS.tobytes(), "binary_data_size as a number of bytes"),
        (True, b"x", "binary_data_size as a number of bytes"),
    ],
)
def test_binary_pixels_of_another_size_are_refused(client: FlaskClient, size: object, binary: bytes, text: str):
    document = tensor(shape=[1, 4, 4, 1], datatype="UINT8", parameters={"binary_data_size": size})

    assert text in error(post(client, document, binary))


def test_bytes_that_belong_to_no_input_are_refused(client: FlaskClient):
    assert "no input has binary_data_size" in error(post(client, pixels(), b"more"))


@pytest.mark.parametrize(
    "binary",
    [
        b"",
        b"\0\0\0",
        with_length(b"") + with_length(b"abc"),
        with_length(b"abc"),
        with_length(b"abc", b"def", b"ghi"),
        with_length(b"abc") + b"\xff\xff\xff\xffdef",
        with_length(b"abc", b"def") + b"\0",
    ],
)
def test_binary_files_that_do_not_fill_their_bytes_are_refused(client: FlaskClient, binary: bytes):
    document = tensor(shape=[2], parameters={"binary_data_size": len(binary)})

    assert "not 2 image files" in error(post(client, document, binary))


@pytest.mark.parametrize("length", ["1000000", "-1", "x", "", "1e2", "9" * 5000])
def test_a_length_of_the_json_that_the_body_does_not_have_is_refused(client: FlaskClient, length: str):
    response = client.post(INFER, data=json.dumps(pixels()), headers={JSON_BYTES: length})

    assert JSON_BYTES in error(response)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(make_app: Callable[..., Flask], server: FakeModelServer, number: float):
    card = Card(name="pets", labels=("a", "b"), input=InputSpec(height=1, width=2, color="GRAY", dtype="float32"))
    server.swap("pets", 1, classifier(card, constant(0.25, 0.75)))
    client = make_app().test_client()
    array = np.array([0, number], "<f4")
    document = tensor(shape=[1, 1, 2, 1], datatype="FP32", parameters={"binary_data_size": 8})

    assert "NaN or infinity" in error(post(client, document, array.tobytes()))
    assert "a list of 2 numbers" in error(post(client, pixels(datatype="FP32", shape=[1, 1, 2, 1], data=[0, number])))


def test_more_images_than_the_limit_are_refused_before_their_data_is_read(make_app: Callable[..., Flask]):
    client = make_app(max_images=2).test_client()

    for document in (files(b"a", b"b", b"c"), pixels(shape=[2**40, 4, 4, 1])):
        response = post(client, document)

        assert response.status_code == 413
        assert "at most 2 are accepted" in response.get_json()["error"]


def test_one_damaged_image_fails_the_request_and_is_named(client: FlaskClient, png: bytes):
    response = post(client, files(png, png[:40], png))

    assert response.status_code == 422
    assert response.get_json()["error"].startswith("Image 2 of 3: ")
    assert not post(client, files(png[:40])).get_json()["error"].startswith("Image")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xd8\xff\0", b"[" * 100_000, b'{"inputs":' + b"[" * 1000 + b"]" * 1000 + b"}"]
)
def test_what_is_not_an_object_is_refused(client: FlaskClient, body: bytes):
    assert error(client.post(INFER, data=body))


def test_a_compressed_body_is_refused(client: FlaskClient):
    response = client.post(INFER, data=b"x", headers={"Content-Encoding": "gzip"})

    assert (response.status_code, list(response.get_json())) == (415, ["error"])
    assert response.headers["Accept-Encoding"] == "identity"


# Outputs


def test_a_response_names_the_version_and_repeats_the_id(client: FlaskClient):
    newest = post(client, pixels() | {"id": "ä", "parameters": {"priority": 1}}).get_json()
    pinned = post(client, pixels(), path="/v2/models/pets/versions/1/infer").get_json()

    assert (newest["model_name"], newest["model_version"], newest["id"]) == ("pets", "2", "ä")
    assert pinned["model_version"] == "1"
    assert "id" not in pinned


def output(**parameters: object) -> dict[str, Any]:
    return {"outputs": [{"name": "probabilities", "parameters": parameters}]}


@pytest.mark.parametrize("request_members", [output(binary_data=True), {"parameters": {"binary_data_output": True}}])
def test_scores_follow_the_json_as_bytes_if_the_request_says_so(
    client: FlaskClient, request_members: dict[str, Any], scores_of_png: list[float]
):
    response = post(client, pixels() | request_members)

    length = int(response.headers[JSON_BYTES])
    document, binary = json.loads(response.data[:length]), response.data[length:]
    assert document["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    ]
    assert np.frombuffer(binary, "<f4").tolist() == pytest.approx(scores_of_png)


def test_an_output_overrides_what_the_request_says_about_all_outputs(client: FlaskClient):
    response = post(client, pixels() | output(binary_data=False) | {"parameters": {"binary_data_output": True}})

    assert scores(response)


def test_labels_are_returned_if_an_output_asks_for_the_best_classes(client: FlaskClient):
    labels = post(client, pixels(DARK) | output(classification=2)).get_json()["outputs"][0]
    every = post(client, pixels(DARK) | output(classification=9)).get_json()["outputs"][0]
    binary = post(client, pixels(DARK) | output(classification=1, binary_data=True))

    assert labels == {
        "name": "probabilities",
        "datatype": "BYTES",
        "shape": [1, 2],
        "data": ["0.800000:2:fish", "0.200000:1:dog"],
    }
    assert every["shape"] == [1, 3]
    assert binary.data.endswith(with_length(b"0.800000:2:fish"))


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "scores"}],
        [{}],
        [{"name": "probabilities"}] * 2,
        ["probabilities"],
        {"name": "probabilities"},
        [{"name": "probabilities", "parameters": {"classifcation": 1}}],
        [{"name": "probabilities", "parameters": {"classification": 0}}],
        [{"name": "probabilities", "parameters": {"classification": True}}],
        [{"name": "probabilities", "parameters": {"classification": "3"}}],
        [{"name": "probabilities", "parameters": {"binary_data": 1}}],
        [{"name": "probabilities"}] * 50_000,
    ],
)
def test_an_output_that_the_model_does_not_have_is_refused(client: FlaskClient, outputs: Sequence[object]):
    assert error(post(client, pixels() | {"outputs": outputs}))


def test_a_new_version_with_another_input_refuses_pixels_of_the_old_one(client: FlaskClient, server: FakeModelServer):
    client.get("/v2/health/ready")  # version 2 is known
    card = Card(name="pets", labels=("a", "b"), input=InputSpec(height=2, width=2))
    server.before["predict"] = lambda: server.swap("pets", 3, classifier(card, constant(0.5, 0.5)))

    assert "version 3 is uint8[2, 2, 3], not uint8[4, 4, 1]" in error(post(client, pixels()))
