"""Every command and code block of README.md and docs/ works, except for the commands listed with a reason.

`sh` blocks and indented blocks are commands; `python` and `powershell` blocks are run, and `json` blocks are checked
against the OpenAPI document. A block that begins with a comment that names a file is that file, which commands use.
Other blocks (`text`, `yaml`, …) are not tested. A command that is neither run nor listed fails.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from gateway.openapi.problems import all_problems
from image_gateway_client import ImageGatewayError
from tests.support import documents
from tests.support.documents import ROOT, SHELL, Block
from tests.support.openapi import ResponseValidator
from tests.support.stack import RunningStack
from vision.card import Card

BLOCKS = documents.blocks()
PAGE_S = 240
MEGABYTE = 1_000_000
END_OF_OUTPUT = "\x1e"
OPTIONAL_PROGRAMS = {
    "node": "Debian's nodejs",
    "java": "Debian's default-jdk-headless and libjackson2-databind-java",
    "go": "Debian's golang-go",
    "dotnet": "the .NET SDK, which Debian does not have",
    "jq": "Debian's jq",
    "pwsh": "PowerShell 7, which Debian does not have",
}
"""Programs that only some pages use, and what has them."""
PROGRAMS = ("base64", "curl", "image-gateway", "ls", "printf", "python3", "sed", "sh", *OPTIONAL_PROGRAMS)
"""The programs whose commands are run here."""
NOT_RUN = {
    "make run": "it starts the service that the other commands use: tests/support/stack.py",
    "python -m model_server": "tests/integration/model_server/test_start_stop.py",
    "python -m train": "tests/train/test_walkthrough.py, and tests/guards/test_train_commands.py for the long ones",
    "make add-model": "tests/e2e/test_add_model.py",
    "python -m tools.models": "tests/e2e/test_add_model.py, and tests/train/test_walkthrough.py",
    "openapi-python-client": "tests/e2e/generators/test_generated_clients.py",
    "openapi-generator-cli": "tests/e2e/generators/test_generated_clients.py",
    "openapi-typescript": "tests/e2e/generators/test_generated_clients.py",
    "openapi-ts": "tests/e2e/generators/test_generated_clients.py",
    "orval": "tests/e2e/generators/test_generated_clients.py",
    "mkdir flowers": "tests/e2e/test_add_model.py",
    "cp -r my_export": "tests/e2e/test_swap.py",
    "cp .env.example": "an optional step before docker compose",
    "mkdir tls": "needs a certificate that clients trust: tests/e2e/stack/test_tls.py makes its own",
    "sudo ": "changes this machine",
    "make nginx": "changes this machine: tests/unit/tools/test_install_nginx.py",
    "sed -i": "changes the checkout",
    "git ": "a download",
    "pip install": "a download; tests/integration/client/test_distribution.py installs the client",
    "docker ": "needs a Docker Engine",
    "kubectl ": "needs a cluster",
    "kind ": "needs a cluster",
    "make .venv/.dev-ready": "a download, which the tests began with",
    ". .venv/bin/activate": "the tests run in this environment",
    "python3 -m venv": "a download follows; tests/integration/client/test_distribution.py installs the client",
    ". ~/image-gateway-client": "the tests run in another environment, which has the client",
    "mv serving_models": "it would take a model from the service that the other commands use: tests/e2e/test_swap.py",
    "openssl ": "needs the certificate of a service with HTTPS: tests/e2e/stack/test_tls.py",
    "grep -h REQUEST_ID": "the id is that of the reader's request",
    "python -m tools.tune": "measures for minutes: tests/unit/tools/test_tune.py",
    "make bench": "measures for minutes",
    "make models": "takes minutes: tests/train/importers/test_imagenet_model.py",
    "make train-gpu": "needs a GPU",
    "make .venv/.models-ready": "a download",
    "python -m bench": "measures for minutes",
    "aws ": "needs an account",
}
"""Why a command is not run here, by its beginning."""
UNSUPPORTED = {
    "photos/pear/01.jpg": "the model is trained by tests/train/test_walkthrough.py",
    "localhost:8080/api/v1/models/digits/labels/stable/predict": "no version has a label: tests/e2e/test_api_models.py",
}
"""Why the stack of these tests cannot answer a command, by a part of it."""
TYPES = {problem.type_uri for problem in all_problems()}
ELLIPSIS = re.compile(r",\s*…(?=\s*[\]}])")  # for members left out; an ellipsis in a string is text

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
    pytest.mark.timeout(600),
]


def shell_commands() -> list[tuple[Block, str]]:
    return [(block, command) for block in BLOCKS if block.kind == SHELL for command in block.commands()]


def program(command: str) -> str:
    """Return the name of the program that a command runs, within `name=$(...)` too."""
    return shlex.split(without_variables(re.sub(r"^\w+=\$\(", "", command)), comments=True)[0]


def prints_json(command: str) -> bool:
    """Return whether a command prints what the API answers, and not lines of JSON or CSV."""
    last = command.rsplit("|", maxsplit=1)[-1].strip()
    is_response = re.match(r"curl\b", last) or (program(command) == "curl" and last.startswith("tee "))
    return bool(is_response) and "/results" not in command


def without_variables(command: str) -> str:
    """Return a command without the variables set in front of it."""
    return re.sub(r"^(\w+=\S*\s+)+", "", command)


def reason_not_to_run(command: str) -> str | None:
    """Return why a command is not run here, or None if it is."""
    reasons = [reason for beginning, reason in NOT_RUN.items() if without_variables(command).startswith(beginning)]
    reasons += [reason for part, reason in UNSUPPORTED.items() if part in command]
    return reasons[0] if reasons else None


def skip_without(words: set[str]) -> None:
    """Skip the test if one of the words is a program that is not installed."""
    for name in words & OPTIONAL_PROGRAMS.keys():
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed; it comes with {OPTIONAL_PROGRAMS[name]}")


COMMANDS = shell_commands()
COMMANDS_TO_RUN = [(block, command) for block, command in COMMANDS if reason_not_to_run(command) is None]
MIN_COMMANDS, MIN_COMMANDS_TO_RUN, MIN_JSON_BLOCKS = 80, 20, 10


def pages(blocks: Iterable[Block]) -> list[str]:
    return sorted({block.page for block in blocks})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, image_host: tuple[Path, str]) -> Path:
    """The working directory of a reader: a checkout, whose photos the image host serves too."""
    folder = tmp_path_factory.mktemp("reader")
    for part in ("README.md", "examples", "serving_models"):
        (folder / part).symlink_to(ROOT / part)
    for photo in (ROOT / "examples").iterdir():
        shutil.copy(photo, image_host[0])
    for block in BLOCKS:
        if block.file_name:
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def replace_addresses(stack: RunningStack, image_host: tuple[Path, str]) -> Callable[[str], str]:
    """Return a function that replaces the addresses in the documents by those of this stack."""
    addresses = {
        "localhost:8080": f"127.0.0.1:{stack.ports.front}",
        "localhost:8000": f"127.0.0.1:{stack.ports.gateway}",
        "localhost:8501": f"127.0.0.1:{stack.ports.rest}",
        "https://example.com": f"http://{image_host[1]}",
    }

    def replace(text: str) -> str:
        for documented, address in addresses.items():
            text = text.replace(documented, address)
        return text

    return replace


@pytest.fixture(scope="module")
def shell(
    stack: RunningStack, folder: Path, replace_addresses: Callable[[str], str]
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return a function that runs commands in one shell, as a reader does, and marks the end of each one's output."""
    environment = {
        **os.environ,
        "IMAGE_GATEWAY_URL": stack.url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(*commands: str) -> subprocess.CompletedProcess[str]:
        line = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
        line += "".join(f"{replace_addresses(command)}\nprintf '\\036'\n" for command in commands)
        return subprocess.run(
            ["sh", "-eu", "-c", line],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PAGE_S,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def validator(stack: RunningStack) -> ResponseValidator:
    return ResponseValidator(requests.get(f"{stack.url}/api/v1/openapi.json", timeout=20).json())


def check(validator: ResponseValidator, document: dict[str, Any]) -> None:
    """Check predictions and problems, which name their type, against the OpenAPI document; ignore other objects."""
    schemas = validator.schemas
    if isinstance(document.get("results"), list):
        validator.check_schema(schemas["BatchPredictionResponse"], document)
    elif "results" in document:
        validator.check_schema(schemas["Job"], document)
    elif "predictions" in document:
        validator.check_schema(schemas["PredictionResponse"], document)
    elif "title" in document and "type" in document:
        assert document["type"] in TYPES, f"{document['type']} is not a type of problems"
        validator.check_schema(schemas["Problem"], document)


def as_answered(record: dict[str, Any]) -> dict[str, Any]:
    """Return the response of which the client wrote a record, with the members that it leaves out."""
    response: dict[str, Any] = {"kind": "prediction"} | {name: record[name] for name in record if name != "image"}
    for score in (response, *response.get("predictions", ())):
        score["label"] = score.get("class")
    return response


def json_documents(block: Block) -> list[dict[str, Any]]:
    """Return the object of a block, or the objects of its lines."""
    text = ELLIPSIS.sub("", block.text)
    if re.match(r'"\w+":', text):  # members without their object
        text = f"{{{text}}}"
    return [json.loads(line) for line in (text.splitlines() if text.count("\n{") else [text])]


def test_the_documentation_has_blocks_of_every_kind():
    assert len(pages(BLOCKS)) > 5
    assert {SHELL, "python", "json"} <= {block.kind for block in BLOCKS}


def test_every_command_is_run_or_listed():
    unlisted = [
        f"{block.place}: {command}"
        for block, command in COMMANDS
        if program(command) not in PROGRAMS and reason_not_to_run(command) is None
    ]

    assert len(COMMANDS) >= MIN_COMMANDS
    assert not unlisted, "run these commands here, or list why not:\n" + "\n".join(unlisted)


def test_every_test_that_a_reason_names_exists():
    paths = re.findall(r"tests/[\w/]+(?:\.py)?", " ".join([*NOT_RUN.values(), *UNSUPPORTED.values()]))

    assert len(paths) >= 8
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_listed_command_is_documented():
    commands = [command for _, command in COMMANDS]

    assert [part for part in UNSUPPORTED if not any(part in command for command in commands)] == []
    beginnings = [without_variables(command) for command in commands]
    assert [part for part in NOT_RUN if not any(command.startswith(part) for command in beginnings)] == []


def test_enough_commands_are_run():
    assert len(COMMANDS_TO_RUN) >= MIN_COMMANDS_TO_RUN


@pytest.mark.parametrize("page", pages(block for block, _ in COMMANDS_TO_RUN))
def test_the_commands_of_a_page_succeed(
    page: str, shell: Callable[[str], subprocess.CompletedProcess[str]], validator: ResponseValidator
):
    commands = [(block, command) for block, command in COMMANDS_TO_RUN if block.page == page]
    skip_without({word for _, command in commands for word in command.split()})
    process = shell(*(command for _, command in commands))
    *outputs, rest = process.stdout.split(END_OF_OUTPUT)
    if process.returncode != 0:
        block, command = commands[len(outputs)]
        pytest.fail(f"{block.place}: {command}\n{rest}\n{process.stderr}")
    for (block, command), output in zip(commands, outputs, strict=True):
        if prints_json(command):
            response = json.loads(output)
            if "/api/" in command:
                check(validator, response)
        if program(command) in {"sh", "python3", *OPTIONAL_PROGRAMS} and "examples/macaws.jpg" in command:
            assert re.search(r"\bmacaw 0\.9", output), f"{block.place}: {output}"


def test_the_base64_line_takes_a_photo_of_a_megabyte(
    folder: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
):
    (line,) = {command for _, command in COMMANDS if command.startswith("base64") and "/api/v1/predict" in command}
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
    cv2.imwrite(str(folder / "large.jpg"), noise)
    assert (folder / "large.jpg").stat().st_size > MEGABYTE

    process = shell(line.replace("examples/macaws.jpg", "large.jpg"))

    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.removesuffix(END_OF_OUTPUT))["kind"] == "prediction"


@pytest.mark.parametrize("page", pages(block for block in BLOCKS if block.kind == "powershell"))
def test_the_powershell_blocks_of_a_page_succeed(page: str, shell: Callable[[str], subprocess.CompletedProcess[str]]):
    skip_without({"pwsh"})
    for block in BLOCKS:
        if (block.page, block.kind) == (page, "powershell"):
            process = shell(f"pwsh -NoProfile -Command - <<'END'\n{block.text}\nEND")
            assert process.returncode == 0, f"{block.place}: {process.stderr}"


def test_json_blocks_fit_the_openapi_document(validator: ResponseValidator):
    documents = [(block, each) for block in BLOCKS if block.kind == "json" for each in json_documents(block)]

    assert len(documents) >= MIN_JSON_BLOCKS
    for block, document in documents:
        response = as_answered(document) if "image" in document else document
        try:
            check(validator, response.get("problem", response))
            if "labels" in document and "input" in document:
                Card.from_json(json.dumps(document))
        except Exception as error:
            error.add_note(f"in the block at {block.place}")
            raise


def test_the_response_in_the_readme_is_that_of_its_command(shell: Callable[[str], subprocess.CompletedProcess[str]]):
    readme = [block for block in BLOCKS if block.page == "README.md"]
    command = next(block for block in readme if block.kind == SHELL and block.text.startswith("curl"))
    documented = json_documents(next(block for block in readme if block.kind == "json"))[0]

    response = json.loads(shell(command.text).stdout.removesuffix(END_OF_OUTPUT))

    members = ("class", "class_id", "model")
    assert {name: response[name] for name in members} == {name: documented[name] for name in members}
    assert round(response["score"], 3) == documented["score"]


@pytest.mark.parametrize("page", pages(block for block in BLOCKS if block.kind == "python"))
def test_the_python_blocks_of_a_page_run_one_after_the_other(
    page: str,
    folder: Path,
    replace_addresses: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    if page == "docs/guides/other_clients.md":
        pytest.importorskip("tritonclient.http", reason="it has no wheels for this version of Python")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}

    try:
        for block in BLOCKS:
            if (block.page, block.kind) == (page, "python"):
                source = compile(replace_addresses(block.text).replace("…", "key"), block.place, "exec")
                exec(source, names)  # noqa: S102  # the documentation is ours
    except ImageGatewayError as error:
        pytest.fail(f"{page}: {error}")

    assert capsys.readouterr().out
