"""Models are added, mended and found unusable while a stack runs."""

import shutil
import subprocess
import sys

import pytest
import requests

from tests.support.stack import ROOT, running
from tests.support.waiting import until
from tools.committed_models import golden_images, newest_version

MODELS = ROOT / "serving_models"
PHOTO = golden_images("cifar10") / "00.png"
DIGIT = golden_images("digits") / "00.png"
HOLLOW = "The model server has no values for the model's variables"
CUT = "cut cannot be served: Version 1 could not be loaded. Its saved_model.pb is damaged"
START_S = 60

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def served(tmp_path):
    """A folder with `digits`, with `photos` below `v1` instead of `1`, and with `hollow`, which lacks its variables."""
    folder = tmp_path / "served"
    shutil.copytree(MODELS / "digits", folder / "digits")
    shutil.copytree(newest_version("cifar10"), folder / "photos" / "v1")
    save_hollow_model(folder / "hollow" / "1")
    return folder


def save_hollow_model(version):
    """Save a classifier that loads, but whose variable has no value."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    module = tf.Module()
    module.bias = tf.Variable([0.0, 1.0, 2.0])
    image = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="image")
    scores = tf.function(lambda image: {"scores": tf.nn.softmax(image[:, 0, 0] + module.bias)}, [image])
    tf.saved_model.save(module, str(version), signatures=scores)
    shutil.rmtree(version / "variables")


def copy_cut_off(source, version):
    """Copy the SavedModel of a version, with the first bytes of the graph only."""
    shutil.copytree(source, version, ignore=shutil.ignore_patterns("model.tflite"))
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])


def configure(served, *names):
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{served / name}" model_platform: "tensorflow" }}\n' for name in names
    )
    config = served / "models.config"
    config.write_text(f"model_config_list {{\n{entries}}}\n")
    return config


def classify(stack, model, image):
    response = requests.post(
        f"{stack.url}/api/v1/models/{model}/predict", files={"image": image.read_bytes()}, timeout=15
    )
    return response.status_code, response.json().get("class")


def test_a_model_is_added_and_another_mended_while_the_stack_runs(served, tmp_path):
    config = configure(served, "digits", "photos", "hollow")
    source = tmp_path / "downloads" / "animals"
    shutil.copytree(newest_version("cifar10"), source, ignore=shutil.ignore_patterns("saved_model.pb", "variables"))

    with running(tmp_path / "run", models_config=config) as stack:
        printed = (tmp_path / "run.out").read_text()
        command = [sys.executable, "-m", "tools.models", "add", str(source), f"--config={config}", f"--url={stack.url}"]
        added = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=False)
        predicted = [classify(stack, "digits", DIGIT), classify(stack, "animals", PHOTO)]
        (served / "photos" / "v1").rename(served / "photos" / "1")
        until(lambda: classify(stack, "photos", PHOTO)[0] == 200, START_S, "the mended model answers")
        copy_cut_off(newest_version("cifar10"), served / "cut" / "1")
        configure(served, "digits", "photos", "animals", "cut")
        until(lambda: CUT in (tmp_path / "run.out").read_text(), START_S, "the new model's fault is printed")

    assert f"photos cannot be served: {served}/photos/v1 is not named like a version" in printed
    assert f"hollow version 1: {HOLLOW}" in printed
    assert (added.returncode, added.stderr) == (0, "")
    assert "It has model.tflite and no SavedModel." in added.stdout
    assert f"curl -F image=@{served}/animals/1/assets.extra/golden/00.png {stack.url}/api/v1/models/animals" in (
        added.stdout
    )
    assert [status for status, _ in predicted] == [200, 200]


def test_an_unusable_default_model_leaves_the_others_served_and_is_named(served, tmp_path):
    with running(tmp_path / "run", models_config=configure(served, "hollow", "digits")) as stack:
        readiness = requests.get(f"{stack.url}/readyz", timeout=15)
        digit = classify(stack, "digits", DIGIT)

    assert readiness.status_code == 503
    assert readiness.json()["detail"].startswith(f"hollow version 1: {HOLLOW}")
    assert digit[0] == 200
    printed = (tmp_path / "run.out").read_text()
    assert f"hollow version 1: {HOLLOW}" in printed
    assert "/api/v1/models/digits/predict\nLogs" in printed
    assert '"cause": "Could not find variable' in stack.log("gateway")
