"""The client and its command against the real stack: through nginx, gunicorn, gRPC and TensorFlow."""

import asyncio
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np
import PIL.Image
import pytest

from gateway import __version__
from image_gateway_client import AsyncClient, Client, ModelVersion, NoAnswerError, Problem, ProblemError
from tests.e2e.conftest import GOLDEN
from tests.support.scores import SCORE_TOLERANCE
from tests.support.stack import ROOT
from tools.committed_models import newest_version

DIGITS = [str(digit) for digit in range(10)]
VERSION = int(newest_version("digits").name)


def summarize(outcomes):
    """Return the label of each classification and the type of each problem."""
    return [outcome.type if isinstance(outcome, Problem) else outcome.label for outcome in outcomes]


def test_every_form_of_an_image_gets_the_same_class(client, golden, image_host, tmp_path):
    host_folder, host = image_host
    for data, label, _ in golden:
        path = tmp_path / f"client-{label}.png"
        path.write_bytes(data)
        (host_folder / path.name).write_bytes(data)
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        with path.open("rb") as file:
            forms = [data, path, str(path), file, f"http://{host}/{path.name}", gray, np.dstack([gray] * 3)]
            assert [client.classify(image, model="digits").label for image in forms] == [label] * len(forms)


def test_a_classification_has_every_member(client, golden):
    data, label, probabilities = golden[4]

    classification = client.classify(data, model="digits", top_k=10)

    assert (classification.label, classification.class_id) == (label, 4)
    assert classification.model == ModelVersion("digits", VERSION)
    scores = {item.class_id: item.score for item in classification.predictions}
    assert [scores[index] for index in range(10)] == pytest.approx(probabilities, abs=SCORE_TOLERANCE)
    assert classification.score == classification.predictions[0].score
    assert classification.request_id


def test_a_version_can_be_selected(client, golden):
    assert client.classify(golden[2][0], model="digits", version=VERSION).label == "2"
    with pytest.raises(ProblemError) as refused:
        client.classify(golden[2][0], model="digits", version=99)
    assert refused.value.problem.status == 404


def test_asyncio_gets_the_same_answers(stack, golden, image_host):
    host_folder, host = image_host
    (host_folder / "three.png").write_bytes(golden[3][0])
    images = [data for data, _, _ in golden]

    async def classify():
        async with AsyncClient(stack.url, connections=3) as client:
            one = await client.classify(f"http://{host}/three.png", model="digits")
            batch = await client.classify_batch(images, model="digits")
            many = [outcome async for outcome in client.classify_many(images * 5, model="digits", batch_size=4)]
            return one.label, summarize(batch), summarize(many), await client.version()

    assert asyncio.run(classify()) == ("3", DIGITS, DIGITS * 5, __version__)


def test_a_picture_of_pillow_is_classified_upright(client, golden):
    for data, label, _ in golden:
        upright = PIL.Image.open(io.BytesIO(data)).convert("L")
        file = io.BytesIO()
        turned = PIL.Image.Exif()
        turned[0x0112] = 6  # turn it to the right
        upright.transpose(PIL.Image.Transpose.ROTATE_90).save(file, "PNG", exif=turned)
        picture = PIL.Image.open(file)

        assert [client.classify(item, model="digits").label for item in (upright, picture)] == [label] * 2


def test_a_batch_of_files_and_urls(client, golden, image_host):
    host_folder, host = image_host
    (host_folder / "six.png").write_bytes(golden[6][0])
    images = [data for data, _, _ in golden]

    classifications = client.classify_batch(images, model="digits")
    mixed = client.classify_batch(
        [images[3], f"http://{host}/six.png", b"no image", f"http://{host}/none.png"], model="digits"
    )

    assert summarize(classifications) == DIGITS
    assert summarize(mixed) == ["3", "6", "/problems/unsupported-image-format", "/problems/fetch-failed"]
    assert mixed[0].model == ModelVersion("digits", VERSION)
    assert mixed[2].request_id == mixed[0].request_id != ""


def test_many_images_keep_their_order_if_some_fail(client, golden, tmp_path):
    images = [golden[n % 10][0] if n % 13 else tmp_path / "none.png" if n % 2 else b"no image" for n in range(150)]
    expected = [
        str(n % 10) if n % 13 else "about:blank" if n % 2 else "/problems/unsupported-image-format" for n in range(150)
    ]

    assert summarize(client.classify_many(iter(images), model="digits")) == expected


def test_a_batch_above_the_gateways_limit_is_split(client, golden):
    images = [golden[n % 10][0] for n in range(200)]

    assert summarize(client.classify_many(images, batch_size=200, model="digits")) == [str(n % 10) for n in range(200)]


def test_only_the_file_over_the_limit_fails(client, golden):
    noise = np.random.default_rng(1).integers(0, 256, 11 * 1024 * 1024, np.uint8).tobytes()

    outcomes = summarize(
        client.classify_many([golden[1][0], b"\x89PNG" + noise, golden[2][0]], batch_bytes=2**30, model="digits")
    )

    assert outcomes == ["1", "/problems/body-too-large", "2"]


def test_a_problem_has_status_request_id_and_title(client):
    with pytest.raises(ProblemError) as error:
        client.classify(b"GIF no")
    assert error.value.problem.status in {415, 422}
    assert error.value.problem.request_id

    with pytest.raises(ProblemError, match="The model is not served"):
        client.classify(b"x", model="nothing")


def test_models_are_listed_and_described(client):
    (model,) = [item for item in client.models() if item.name == "digits"]
    details = client.model("digits")

    assert (model.available, model.version, list(model.labels)) == (True, VERSION, DIGITS)
    assert details.card["metrics"]["accuracy"] >= 0.99
    assert details.card["abstain_below"] > 0.9
    assert (details.versions[0].version, details.versions[0].state) == (VERSION, "AVAILABLE")


def test_the_service_is_ready(client):
    assert client.ready()
    assert client.health().model is not None


@pytest.fixture(scope="module")
def colours(colour_stack):
    with Client(colour_stack.url) as client:
        yield client


RED = np.full((30, 40, 3), (200, 20, 10), np.uint8)
HALF_RED = np.repeat(np.repeat(np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8), 60, 0), 40, 1)


def test_versions_and_labels_can_be_selected_and_listed(colours):
    versions = {
        "newest": colours.classify(RED).model,
        "first": colours.classify(RED, model="colours", version=1).model,
        "stable": colours.classify(RED, model="colours", label="stable").model,
        "canary": colours.classify_batch([RED, RED], model="colours", label="canary")[1].model,
    }
    states = colours.model("colours").versions

    assert {name: model.version for name, model in versions.items()} == {
        "newest": 2,
        "first": 1,
        "stable": 1,
        "canary": 2,
    }
    assert [(item.version, item.state, item.labels) for item in states] == [
        (2, "AVAILABLE", ("canary",)),
        (1, "AVAILABLE", ("stable",)),
    ]


def test_an_explanation_is_a_png_or_an_array(colours):
    overlay = colours.classify(HALF_RED, explain=True).explanation
    raw = colours.classify_batch([HALF_RED, HALF_RED], explain="raw")[1].explanation

    assert overlay.label == "red"
    assert cv2.imdecode(np.frombuffer(overlay.png, np.uint8), cv2.IMREAD_COLOR).shape == (192, 256, 3)
    np.testing.assert_allclose(raw.values, np.tile([1, 1, 1, 1, 0, 0, 0, 0], (8, 1)))


def test_a_model_without_explanations_is_a_problem(colours):
    with pytest.raises(ProblemError) as error:
        colours.classify(RED, model="lights", explain=True)

    assert error.value.problem.type == "/problems/model-not-explainable"


def test_a_fault_that_no_image_causes_is_raised_for_one_image_too(colours):
    for images in ([RED], [RED] * 5):
        for options, kind in (({"top_k": 0}, "bad-request"), ({"model": "lights", "explain": True}, "not-explainable")):
            for ask in (colours.classify_batch, lambda *images, **names: list(colours.classify_many(*images, **names))):
                with pytest.raises(ProblemError) as error:
                    ask(images, **options)
                assert error.value.problem.type.endswith(kind)


def test_a_file_that_is_not_an_image_has_its_problem_in_a_batch_of_one_too(client):
    for data in (b'{"top_k": 0}', b"https://example.com/a.jpg", b"not an image"):
        assert summarize(client.classify_batch([data])) == ["/problems/unsupported-image-format"]


def test_a_multi_label_model_lists_the_classes_above_the_threshold(colours):
    classification = colours.classify(RED, model="lights", top_k=3)
    all_classes = colours.classify(RED, model="lights", threshold=0.0).classes

    assert classification.classes is not None
    assert {item.label for item in classification.classes} < {item.label for item in classification.predictions}
    assert len(all_classes) == len(colours.model("lights").labels)


def test_a_threshold_leaves_out_less_likely_classes(colours):
    classification = colours.classify(RED, threshold=0.95)

    assert (classification.label, classification.predictions, classification.classes) == ("red", (), None)


def test_the_client_stops_waiting_after_its_timeout(stack, golden):
    with Client(stack.url, timeout_s=1e-9) as client, pytest.raises((NoAnswerError, ProblemError)):
        client.classify(golden[0][0])


def test_the_command_classifies_a_folder_and_resumes(command, folder, tmp_path):
    (folder / "text.jpg").write_text("not an image")

    result = command("classify", folder.name, "--model", "digits", "--out", "out.csv")

    assert result.status == 1
    assert result.err == "12 images: 10 classified, 2 failed\n"
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {name: row["class"] for name, row in rows.items() if not row["problem"]} == {
        f"pictures/{digit}.png": digit for digit in DIGITS
    }
    assert rows["pictures/cut.png"]["problem"] == "The image cannot be decoded"
    assert rows["pictures/text.jpg"]["problem"] == "The image format is not accepted"

    (folder / "cut.png").unlink()
    (folder / "text.jpg").unlink()
    second = command("classify", folder.name, "--model", "digits", "--out", "out.csv")

    assert second.status == 0
    assert second.err.startswith("10 images: 0 classified, 10 by an earlier run")


def test_the_command_reads_an_image_from_standard_input(command, golden):
    result = command("classify", "-", "--model", "digits", "--format", "jsonl", "--top-k", 2, stdin=golden[8][0])

    prediction = json.loads(result.out)
    assert (prediction["class"], len(prediction["predictions"]), result.status) == ("8", 2, 0)


def test_the_command_shows_models_and_health(command):
    assert "Handwritten digits" in command("models").out
    assert json.loads(command("models", "digits", "--json").out)["task"] == "multiclass"
    assert command("health").status == 0


def test_the_json_of_a_model_and_of_a_job_has_every_member_of_the_answer(command, client, stack, golden):
    job = client.wait_for_job(client.submit_job([golden[1][0]], model="digits"))

    for path, arguments in (("models/digits", ["models", "digits"]), (f"jobs/{job.id}", ["jobs", "status", job.id])):
        answer = httpx.get(f"{stack.url}/api/v1/{path}").json()
        assert answer.keys() <= json.loads(command(*arguments, "--json").out).keys()


def test_the_url_of_tensorflow_serving_is_recognised(command, stack):
    result = command("models", "--url", f"http://127.0.0.1:{stack.ports.rest}")

    assert result.status == 2
    assert "is TensorFlow Serving. The gateway is usually at http://127.0.0.1:8080." in result.err


def test_a_url_that_was_copied_from_a_route_works(command, stack):
    assert command("models", "--url", f"{stack.url}/api/v1").status == 0
    assert command("version", "--url", stack.predict_url).out.splitlines()[1].endswith(f" {__version__}")


def test_the_installed_command_classifies_a_folder(stack, golden, tmp_path):
    program = Path(sys.executable).with_name("image-gateway")
    arguments = [program, "classify", GOLDEN, "--format", "json", "--model", "digits", "--url", stack.url]

    process = subprocess.run(arguments, cwd=tmp_path, capture_output=True, timeout=100, check=True)

    assert [item["class"] for item in json.loads(process.stdout)] == [label for _, label, _ in golden]


def test_the_documented_commands_succeed(command, image_host, tmp_path):
    pages = (ROOT / "docs/reference/cli.md", ROOT / "README.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    lines = re.findall(r"^    image-gateway (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(lines) >= 7
    host_folder, host = image_host
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copy(ROOT / "examples" / "macaws.jpg", host_folder)

    for line in lines:
        arguments = line.replace("https://example.com", f"http://{host}").split()
        result = command(*arguments)
        assert (result.status, "error" in result.err) == (0, False), (line, result.err)
