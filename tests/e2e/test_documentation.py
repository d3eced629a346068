"""Each command and code block of README.md and docs/ is run against the service, but for those listed with a reason.

`sh`, and an indented block, is commands; `python` is run, `json` is held to the API's own description. Whatever else is
behind a fence (`text`, `yaml`, …) is not for running. A command that is neither run nor listed fails.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import requests

from image_gateway_client import ImageGatewayError
from tests.support import documents
from tests.support.documents import ROOT, SHELL
from tests.support.openapi import ResponseValidator
from tests.support.stack import RunningStack
from vision.card import Card

BLOCKS = documents.blocks()
COMMAND_S = 60
RUN = ("curl", "image-gateway")
# Why a command is not run here, by how it begins.
ELSEWHERE = {
    "make run": "it is how the service that all others ask is started: tests/support/stack.py",
    "python -m model_server": "tests/integration/model_server/test_start_stop.py",
    "python -m train": "tests/train/test_walkthrough.py, and tests/guards/test_train_commands.py for what takes hours",
    "make test": "it runs this",
    "cp -r my_export": "tests/e2e/test_swap.py",
    "cp .env.example": "an optional step before docker compose",
    "mkdir tls": "a certificate that others know: tests/e2e/stack has one of its own",
    "sudo ": "changes this machine",
    "git ": "a download",
    "pip install": "a download; tests/guards/test_client_stands_alone.py has what it brings",
    "docker ": "needs a Docker Engine",
    "kubectl ": "needs a cluster",
    "kustomize ": "needs a cluster",
    "kind ": "needs a cluster",
    "make up": "needs a Docker Engine",
    "make tune": "measures for minutes: tests/unit/tools/test_tune.py",
    "python -m tools.tune": "measures for minutes: tests/unit/tools/test_tune.py",
    "make bench": "measures for minutes",
    "python -m bench": "measures for minutes",
    "gcloud ": "needs an account",
    "aws ": "needs an account",
    "s deploy": "needs an account",
    "scf deploy": "needs an account",
}
NOT_HERE = {
    "photos/pear/01.jpg": "the model is trained by tests/train/test_walkthrough.py",
    "localhost:8080/api/v1/models/digits/labels/stable/predict": "no version has a label: tests/e2e/test_api_models.py",
}
PICTURES = {
    "dog.jpg": "cifar10/1/assets.extra/golden/05.png",
    "cat.jpg": "cifar10/1/assets.extra/golden/03.png",
    "cat.png": "cifar10/1/assets.extra/golden/03.png",
    "photo.jpg": "cifar10/1/assets.extra/golden/00.png",
    "picture.png": "cifar10/1/assets.extra/golden/01.png",
    "holiday/1.jpg": "cifar10/1/assets.extra/golden/03.png",
    "holiday/2.jpg": "cifar10/1/assets.extra/golden/04.png",
    "one.png": "digits/1/assets.extra/golden/01.png",
    "two.png": "digits/1/assets.extra/golden/02.png",
    "three.png": "digits/1/assets.extra/golden/03.png",
    "seven.png": "digits/1/assets.extra/golden/07.png",
}
ELIDED = re.compile(r",\s*…(?=\s*[\]}])")  # members left out; within a string it is text

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def commands():
    return [(block, command) for block in BLOCKS if block.kind == SHELL for command in block.commands()]


def without_settings(command):
    """What a command begins with, after variables that are set for it."""
    return re.sub(r"^(\w+=\S*\s+)+", "", command)


def why_not(command):
    """Say why a command is not run; None for one that is."""
    begins = (reason for begin, reason in ELSEWHERE.items() if without_settings(command).startswith(begin))
    holds = (reason for part, reason in NOT_HERE.items() if part in command)
    return next(begins, None) or next(holds, None)


def named(pairs):
    return [pytest.param(block, command, id=f"{block.place} {command[:60]}") for block, command in pairs]


def of_kind(kind):
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.kind == kind]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, picture_host):
    """Where the commands run: the pictures that they name, here and on the picture host."""
    here = tmp_path_factory.mktemp("reader")
    (here / "serving_models").symlink_to(ROOT / "serving_models")
    for name, source in PICTURES.items():
        (here / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(here / name), cv2.imread(str(ROOT / "serving_models" / source)))
        (picture_host[0] / Path(name).name).write_bytes((here / name).read_bytes())
    return here


@pytest.fixture(scope="module")
def translated(stack: RunningStack, picture_host):
    """Put in place of the addresses in the documents those that there are here."""
    places = {
        "localhost:8080": f"127.0.0.1:{stack.ports.front}",
        "localhost:8501": f"127.0.0.1:{stack.ports.rest}",
        "https://example.com": f"http://{picture_host[1]}",
    }

    def translate(text):
        for written, place in places.items():
            text = text.replace(written, place)
        return text

    return translate


@pytest.fixture(scope="module")
def shell(stack: RunningStack, folder, translated):
    """Run a command as a reader does; give what it printed."""
    environment = {
        **os.environ,
        "IMAGE_GATEWAY_URL": stack.url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(command):
        line = f'curl() {{ command curl --silent --show-error --fail-with-body "$@"; }}\n{translated(command)}'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="module")
def validator(stack: RunningStack):
    return ResponseValidator(requests.get(f"{stack.url}/api/v1/openapi.json", timeout=20).json())


def check(validator, document):
    """Hold a JSON object against the API's description: answers, and problems by their type; others are left alone."""
    schemas = validator.schemas
    if "results" in document:
        validator.check_schema(schemas["BatchPredictionResponse"], document)
    elif "predictions" in document:
        validator.check_schema(schemas["PredictionResponse"], document)
    elif "title" in document and "type" in document:
        described = [schema for schema in schemas.values() if is_of_type(schema, document["type"])]
        assert described, document["type"]
        validator.check_schema(described[0], document)


def is_of_type(schema, type_uri):
    return schema.get("properties", {}).get("type", {}).get("const") == type_uri


def test_there_are_such_blocks():
    assert len({block.page for block in BLOCKS}) > 5
    assert {SHELL, "python", "json"} <= {block.kind for block in BLOCKS}


@pytest.mark.parametrize(("block", "command"), named(commands()))
def test_a_command_is_run_or_listed(block, command):
    first = shlex.split(without_settings(command), comments=True)[0]
    assert why_not(command) or first in RUN, f"{block.place}: run `{command}` here, or list why it is not"


@pytest.mark.parametrize("reason", [*ELSEWHERE.values(), *NOT_HERE.values()])
def test_tests_named_as_a_reason_are_there(reason):
    for path in re.findall(r"tests/\S+\.py", reason):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("part", NOT_HERE)
def test_what_is_listed_is_written(part):
    assert any(part in command for _, command in commands())


@pytest.mark.parametrize(("block", "command"), named(pair for pair in commands() if not why_not(pair[1])))
def test_a_command_does_what_it_is_to_do(block, command, shell, validator):  # noqa: ARG001  # the block is in the name
    printed = shell(command)
    if command.startswith("curl") and "|" not in command:
        check(validator, json.loads(printed))


@pytest.mark.parametrize("block", of_kind("json"))
def test_json_is_what_the_api_answers_or_takes(block, validator):
    text = ELIDED.sub("", block.text)
    if re.match(r'"\w+":', text):  # members out of an object
        text = f"{{{text}}}"
    lines = text.splitlines() if text.count("\n{") else [text]
    for document in map(json.loads, lines):
        # Of the client's lines what is the gateway's own.
        answer = {name: value for name, value in document.items() if name != "image"}
        check(validator, answer.get("problem", answer))
        if "labels" in document and "input" in document:
            Card.from_json(json.dumps(document))


def test_the_answer_in_the_readme_is_the_one_that_is_given(shell):
    readme = [block for block in BLOCKS if block.page == "README.md"]
    asked = next(block for block in readme if block.kind == SHELL and block.text.startswith("curl"))
    told = next(block for block in readme if block.kind == "json")
    answer = json.loads(shell(asked.text))
    written = json.loads(ELIDED.sub("", told.text))
    assert (answer["class"], answer["class_id"], answer["model"]) == (
        written["class"],
        written["class_id"],
        written["model"],
    )
    assert round(answer["score"], 3) == written["score"]


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.kind == "python"}))
def test_python_runs(page, folder, translated, monkeypatch, capsys):
    """The blocks of a page one after the other, as the reader of the page has them."""
    monkeypatch.chdir(folder)
    names = {"paths": ["dog.jpg", "cat.jpg"]}
    try:
        for block in BLOCKS:
            if (block.page, block.kind) == (page, "python"):
                source = compile(translated(block.text).replace("…", "key"), block.place, "exec")
                exec(source, names)  # noqa: S102  # that is what it is for
    except ImageGatewayError as error:
        pytest.fail(f"{page}: {error}")
    assert capsys.readouterr().out
