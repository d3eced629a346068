"""Flask in front of TensorFlow Serving, a network for CIFAR-10: a file `image` or JSON with `url` returns the class."""

import requests

PREDICT = "/api/v1/models/cifar10/predict"


def test_a_file_is_classified(stack, photos):
    for path, label in photos:
        with path.open("rb") as file:
            response = requests.post(f"{stack.url}{PREDICT}", files={"image": file}, timeout=20)
        assert (response.status_code, response.json()["class"]) == (200, label)


def test_a_url_is_classified(stack, photos, image_host):
    folder, host = image_host
    for path, label in photos:
        (folder / f"photo-{path.name}").write_bytes(path.read_bytes())
        document = {"url": f"http://{host}/photo-{path.name}"}
        response = requests.post(f"{stack.url}{PREDICT}", json=document, timeout=20)
        assert (response.status_code, response.json()["class"]) == (200, label)


def test_the_model_has_the_classes_of_cifar10(stack):
    card = requests.get(f"{stack.url}/api/v1/models/cifar10", timeout=20).json()["card"]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    assert card["labels"] == classes
    assert card["metrics"]["accuracy"] >= 0.95
