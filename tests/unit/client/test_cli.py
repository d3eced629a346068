"""The command: what it prints to which stream, and its exit status."""

import csv
import io
import json
import os
import subprocess
import threading
from importlib.metadata import version as installed_version

import pytest

from tests.support.client_command import program, runner, screen
from tests.support.contract_gateway import ContractGateway, Reply, busy, problem
from tests.support.waiting import until


@pytest.fixture
def command(gateway, tmp_path, monkeypatch, capsys):
    return runner(gateway.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def pets(tmp_path):
    """A folder of ten images, of which the gateway refuses the fourth."""
    folder = tmp_path / "pets"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.jpg").write_bytes(b"bad" if number == 3 else b"n%d" % number)
    return folder


def rows(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def test_a_folder_becomes_a_table_in_order_and_one_bad_file_a_row(command, pets, gateway):
    result = command("classify", pets.name, "--batch-size", 4)
    assert result.status == 1
    named = rows(result.out)
    assert [row[:3] for row in named if row[0].startswith("pets/")] == [
        [f"pets/{n}.jpg", "The", "image"] if n == 3 else [f"pets/{n}.jpg", f"n{n}", "75.0%,"] for n in range(10)
    ]
    assert result.err == "10 images: 9 classified, 1 failed\n"
    assert sorted(map(len, gateway.batches)) == [2, 4, 4]


def test_success_is_status_0(command, pets):
    result = command("classify", pets / "1.jpg", pets / "2.jpg")
    assert (result.status, result.err) == (0, "2 images: 2 classified, 0 failed\n")


def test_options_reach_the_gateway(command, pets, gateway, monkeypatch):
    arguments = ["--model", "pets", "--version", 3, "--top-k", 7, "--threshold", 0.5]
    assert command("classify", pets / "1.jpg", *arguments, "--api-key", "k-1").status == 0
    monkeypatch.setenv("IMAGE_GATEWAY_API_KEY", "k-2")
    assert command("classify", pets / "1.jpg", "--model", "pets", "--label", "new").status == 0
    first, second = gateway.seen
    assert (first.path, first.query) == (
        "/api/v1/models/pets/versions/3/predict",
        {"top_k": "7", "threshold": "0.5"},
    )
    assert second.path == "/api/v1/models/pets/labels/new/predict"
    assert [seen.headers["Authorization"] for seen in gateway.seen] == ["Bearer k-1", "Bearer k-2"]


def test_one_image_on_the_standard_input(command, gateway):
    result = command("classify", "-", "--format", "jsonl", stdin=b"owl 1")
    answer = json.loads(result.out)
    assert (answer["image"], answer["class"], result.status, result.err) == ("-", "owl", 0, "")
    assert gateway.batches == [(b"owl 1",)]


def test_urls_and_files_in_one_run(command, pets, gateway):
    result = command("classify", "http://a.example/fox", pets / "1.jpg", "--format", "csv", "--top-k", 2)
    table = list(csv.DictReader(io.StringIO(result.out)))
    assert [(row["image"], row["class"], row["class_2"]) for row in table] == [
        ("http://a.example/fox", "fox", "else"),
        (str(pets / "1.jpg"), "n1", "else"),
    ]
    assert len(gateway.seen) == 1


def test_the_suffix_of_the_file_selects_the_format(command, pets, tmp_path):
    for name, first in (("a.json", b"["), ("a.jsonl", b'{"image": '), ("a.csv", b"image,class")):
        assert command("classify", pets / "1.jpg", "--out", name).status == 0
        assert (tmp_path / name).read_bytes().startswith(first), name
    assert command("classify", pets / "1.jpg", "--out", "b.json", "--format", "csv").status == 0
    assert (tmp_path / "b.json").read_bytes().startswith(b"image,class")


def test_a_killed_run_is_resumed(gateway, command, pets, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    arguments = ["classify", "pets", "--out", "out.jsonl", "--batch-size", "2", "--connections", "1"]
    gateway.turns = threading.Semaphore(3)
    with subprocess.Popen(**program(gateway.url, *arguments), cwd=tmp_path) as process:
        until(lambda: out.exists() and out.read_bytes().count(b"\n") == 6, 60, "three batches written")
        process.kill()
    with out.open("ab") as file:
        file.write(b'{"image": "pets/6.jpg", "class')  # what a kill in the middle of a line leaves
    (pets / "3.jpg").write_bytes(b"mended")

    with ContractGateway() as later:
        monkeypatch.setenv("IMAGE_GATEWAY_URL", later.url)
        result = command(*arguments)
        assert result.status == 0
        assert result.err == "10 images: 5 classified, 5 by an earlier run, 0 failed\n"
        assert later.batches == [(b"mended", b"n6"), (b"n7", b"n8"), (b"n9",)]
        again = command(*arguments)
        assert again.err == "10 images: 0 classified, 10 by an earlier run, 0 failed\n"
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert {item["image"]: item["class"] for item in lines} == {
        f"pets/{n}.jpg": "mended" if n == 3 else f"n{n}" for n in range(10)
    }
    assert len(lines) == 10


def test_the_standard_input_is_never_resumed(command, gateway):
    for label in (b"owl", b"fox"):
        result = command("classify", "-", "--out", "out.jsonl", stdin=label)

        assert (result.status, result.err) == (0, "")
    assert gateway.batches == [(b"owl",), (b"fox",)]


def test_results_of_another_version_are_not_resumed(command, pets, gateway):
    for version in (3, 4):
        command("classify", pets / "1.jpg", "--model", "pets", "--version", version, "--out", "out.csv")

    assert len(gateway.seen) == 2


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_problems_stay_if_the_gateway_cannot_be_reached(command, pets, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    command("classify", pets, "--out", out.name)
    before = out.read_bytes()

    unreachable = command("classify", pets, "--out", out.name, "--url", "http://127.0.0.1:1", "--retries", 0)

    assert unreachable.status == 2
    assert unreachable.err == "error: http://127.0.0.1:1 cannot be reached: Connection refused\n"
    assert out.read_bytes() == before
    assert b"The image cannot be decoded" in before


def run_with_closed(stream, url, *arguments):
    """Run the command while a standard stream is closed, as cron and daemons may have it."""
    redirection = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-"}[stream]
    process = program(url, *arguments)
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *process["args"]]
    return subprocess.run(command, env=process["env"], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("stream", "arguments"),
    [
        ("stdin", ["classify", "{pets}/1.jpg"]),
        ("stdin", ["models"]),
        ("stdout", ["classify", "{pets}/1.jpg", "--out", "{pets}/out.csv"]),
        ("stdout", ["health"]),
        ("stderr", ["classify", "{pets}/1.jpg", "{pets}/2.jpg"]),
        ("stderr", ["models", "pets"]),
    ],
)
def test_a_closed_stream_that_is_not_needed_does_not_matter(gateway, pets, stream, arguments):
    result = run_with_closed(stream, gateway.url, *(argument.format(pets=pets) for argument in arguments))

    assert result.returncode == 0
    assert "Error" not in result.stderr


@pytest.mark.parametrize(
    ("stream", "arguments", "message"),
    [
        ("stdin", ["classify", "-"], "- is the standard input, which is closed"),
        ("stdin", ["jobs", "submit", "-"], "- is the standard input, which is closed"),
        ("stdout", ["classify", "{pets}/1.jpg"], "error: The standard output is closed. Redirect it"),
        ("stdout", ["models"], "error: The standard output is closed. Redirect it"),
        ("stdout", ["jobs", "submit", "{pets}"], "error: The standard output is closed. Redirect it"),
        ("stdout", ["keys", "add", "a", "--file", "{pets}/keys"], "error: The standard output is closed. Redirect it"),
        ("stderr", ["classify", "missing.jpg", "--url", "localhost"], ""),
    ],
)
def test_a_closed_stream_that_is_needed_is_a_plain_error(gateway, pets, stream, arguments, message):
    result = run_with_closed(stream, gateway.url, *(argument.format(pets=pets) for argument in arguments))

    assert result.returncode == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert gateway.seen == []
    assert not (pets / "keys").exists()


@pytest.mark.parametrize("status", [401, 404])
def test_nothing_is_said_about_results_if_there_are_none(command, pets, gateway, status):
    gateway.script.extend([problem(status, "No")] * 9)

    result = command("classify", pets, "--out", "out.csv")

    assert result.status == 2
    assert result.err.startswith(f"error: {status} No\n")


@pytest.mark.parametrize("status", [403, 404, 429, 503])
def test_an_unusable_gateway_is_status_2_and_says_how_to_resume(command, pets, gateway, tmp_path, status):
    gateway.failing = {b"n6": status}
    result = command("classify", pets, "--out", "out.csv", "--batch-size", 2, "--connections", 1, "--retries", 0)
    assert result.status == 2
    assert result.err.splitlines() == [
        "The results so far are in out.csv. Run the same command again to resume.",
        f"error: {status} Failed",
    ]
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 1 + 6


def test_a_missing_key_says_where_to_pass_it(command, pets, gateway):
    gateway.script.append(problem(401, "An API key is required"))

    result = command("classify", pets / "1.jpg")

    assert result.status == 2
    assert result.err.splitlines() == [
        "error: 401 An API key is required",
        "Pass an API key of the gateway with --api-key, or set IMAGE_GATEWAY_API_KEY.",
    ]


def test_an_error_cannot_control_the_terminal(command, pets, gateway):
    gateway.script.append(problem(404, "No\x1b[2J\x07", detail="\x9b31m"))

    result = command("classify", pets / "1.jpg")

    assert (
        result.err
        == "error: 404 No\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}: \N{REPLACEMENT CHARACTER}31m\n"
    )


def test_a_file_that_the_command_did_not_write_is_never_changed(command, pets, gateway, tmp_path):
    for name in ("notes.txt", "notes.json", "notes.jsonl", "notes.csv"):
        (tmp_path / name).write_text("hello")

    refused = [
        command("classify", pets, "--out", "notes.txt"),
        command("classify", pets, "--out", "notes.txt", "--format", "table"),
        command("classify", pets, "--out", "notes.json"),
        command("classify", pets, "--out", "notes.jsonl"),
        command("classify", pets, "--out", "notes.csv"),
        command("classify", pets, "--out", "a.xlsx"),
    ]

    assert [result.status for result in refused] == [2] * 6
    assert {file.read_text() for file in tmp_path.glob("notes.*")} == {"hello"}
    assert not (tmp_path / "a.xlsx").exists()
    assert gateway.seen == []


def test_short_options(command, pets, gateway, tmp_path):
    arguments = ["-m", "pets", "-k", 2, "-f", "csv", "-o", "out.txt", "-u", gateway.url]

    assert command("classify", pets / "1.jpg", *arguments).status == 0

    assert gateway.seen[0].path == "/api/v1/models/pets/predict"
    assert (tmp_path / "out.txt").read_text().startswith("image,class,class_id,score,class_2")


def test_an_unreachable_gateway_is_one_line_and_status_2(command, pets):
    for arguments in (["classify", str(pets)], ["models"], ["health"]):
        result = command(*arguments, "--url", "http://127.0.0.1:1")
        assert result.status == 2
        assert result.err == "error: http://127.0.0.1:1 cannot be reached: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify"], "Missing argument"),
        (["classify", "bare"], "there are no images to classify"),
        (["classify", "x", "--version", "1"], "name it"),
        (["classify", "x", "--model", "m", "--version", "1", "--label", "l"], "not both"),
        (["classify", "x", "--top-k", "0"], "--top-k"),
        (["classify", "x", "--threshold", "1.5"], "--threshold"),
        (["classify", "x", "--format", "xml"], "--format"),
        (["classify", "x", "--url", "localhost"], "is not a valid gateway URL"),
        (["classify", "x", "--api-key", "k y\u00e9"], "The API key is not valid"),
        (["classify", "x", "--out", "notes.txt"], "does not say which format to write"),
        (["classify", "x", "--out", "none/out.csv"], "No such file or directory: 'none/out.csv'"),
        (["classify", "x", "--out", "photo.csv"], "Choose another file, or remove it"),
        (["clasify", "x"], "No such command"),
    ],
)
def test_an_invalid_command_is_status_2(command, gateway, tmp_path, arguments, message):
    (tmp_path / "bare").mkdir()
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8 a photo")
    result = command(*arguments)
    assert result.status == 2
    assert message in result.err
    assert gateway.seen == []
    assert (tmp_path / "photo.csv").read_bytes() == b"\xff\xd8 a photo"


def test_a_folder_may_contain_pipes_and_other_files(command, pets):
    os.mkfifo(pets / "pipe.jpg")
    (pets / "film.mov").write_bytes(b"x")
    result = command("classify", "pets")
    assert result.err.splitlines() == [
        "2 other files left out (.mov 1, pipes or devices 1)",
        "10 images: 9 classified, 1 failed",
    ]


def test_an_empty_folder_beside_images_is_reported(command, pets, tmp_path):
    (tmp_path / "bare").mkdir()
    result = command("classify", "bare", pets / "1.jpg")
    assert (result.status, result.err) == (0, "bare: no images in this folder\n")


def test_a_closed_pipe_is_not_reported(gateway, pets):
    reader, writer = os.pipe()
    os.close(reader)
    arguments = program(gateway.url, "classify", pets, "--format", "jsonl")
    try:
        result = subprocess.run(**arguments, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


def test_a_progress_bar_is_shown_only_on_a_terminal(gateway, command, pets, tmp_path):
    status, shown = screen(gateway.url, "classify", pets, "--out", tmp_path / "out.csv")
    assert status == 1
    assert "classifying" in shown
    assert "10/10" in shown
    assert "classifying" not in command("classify", pets).err


def test_no_progress_bar_is_shown_with_lines_on_the_same_terminal(gateway, pets):
    status, shown = screen(gateway.url, "classify", pets, "--format", "jsonl")
    assert status == 1
    assert "classifying" not in shown
    assert [json.loads(line)["image"] for line in shown.splitlines()[:10]] == [
        str(pets / f"{n}.jpg") for n in range(10)
    ]


def test_the_models(command):
    result = command("models")
    assert result.status == 0
    assert ["pets", "(default)", "3", "multiclass", "2", "Pets"] in rows(result.out)
    assert ["birds", "-", "-", "-", "birds", "is", "loading."] in rows(result.out)
    pets, birds = json.loads(command("models", "--json").out)
    assert (pets["labels"], birds["available"]) == (["cat", "dog"], False)


def test_one_model(command):
    message = rows(command("models", "pets").out)
    assert ["versions", "3", "(stable)", "AVAILABLE"] in message
    assert ["not", "sure", "below", "a", "confidence", "of", "50.0%"] in message
    assert ["metrics", "accuracy", "0.9"] in message
    assert ["licence", "Apache-2.0"] in message
    assert json.loads(command("models", "pets", "--json").out)["card"]["metrics"] == {"accuracy": 0.9}
    result = command("models", "cats")
    assert (result.status, result.err) == (2, "error: 404 Not Found\n")


def test_health(command, gateway):
    result = command("health")
    assert (result.status, result.out) == (0, f"{gateway.url} is ready: pets version 3 is served\n")
    gateway.script.append(busy())
    result = command("health")
    assert (result.status, result.out) == (1, f"{gateway.url} is not ready: Busy\n")
    gateway.script.append(problem(401, "Who are you"))
    assert command("health").status == 1


def test_the_text_of_another_program_cannot_control_the_terminal(command, gateway):
    evil = "\x1b]0;title\x07\x9b31m"
    gateway.script.append(problem(503, evil))
    health = command("health")
    gateway.script.append(Reply({"version": evil}))
    version = command("version")
    gateway.script.append(Reply({"models": [{"name": evil, "default": True, "available": True}]}))
    models = command("models", "--json")

    assert (health.status, version.status, models.status) == (1, 0, 0)
    assert not set("\x1b\x07\x9b") & set(health.out + health.err + version.out + models.out)
    assert json.loads(models.out)[0]["name"] == evil


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "pets", "--timeout", "inf"], "should be less than or equal to"),
        (["classify", "pets", "--timeout", "1e10"], "should be less than or equal to"),
        (["classify", "pets", "--max-mib", "999999999999"], "should be less than or equal to"),
        (["jobs", "wait", "job-0", "--max-wait", "inf"], "should be less than or equal to"),
        (["classify", "pets", "--model", ".."], "'..' is not a valid name of a model"),
        (["models", ".."], "'..' is not a valid name of a model"),
        (["jobs", "status", ""], "'' is not the identifier of a job"),
    ],
)
def test_a_value_that_cannot_be_is_one_message(command, pets, gateway, arguments, message):
    assert pets

    result = command(*arguments)

    assert result.status == 2
    assert message in " ".join(result.err.replace("│", " ").split())
    assert gateway.seen == []


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_the_standard_output_can_be_named(command, pets, out):
    assert command("classify", pets, "-f", "csv", "--out", out).out == command("classify", pets, "-f", "csv").out != ""


def test_one_image_is_counted_as_one(command, pets):
    command("classify", pets / "0.jpg", "--out", "a.csv")

    assert command("classify", pets / "0.jpg", "--out", "a.csv").err.startswith("1 image: ")


def test_an_optional_argument_has_one_pair_of_brackets(command):
    assert "models [OPTIONS] [NAME]" in command("models", "--help").out


def test_help_and_version(command):
    shown = command("--help")
    assert shown.status == 0
    for name in ("classify", "models", "health"):
        assert name in shown.out
    assert command("-h").out == shown.out
    assert command("--version").out.startswith("image-gateway ")
    assert command().status == 2


def test_the_versions_of_command_and_gateway(command, gateway):
    gateway.script.append(Reply({"name": "image-gateway", "version": "7.8.9"}))

    result = command("version")

    assert result.status == 0
    assert result.out.splitlines() == [
        f"image-gateway command {installed_version('image-gateway-client')}",
        f"gateway at {gateway.url} 7.8.9",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(gateway, shell):
    arguments = program(gateway.url)
    environment = {**arguments["env"], "_IMAGE_GATEWAY_COMPLETE": f"source_{shell}"}

    script = subprocess.run(arguments["args"], env=environment, capture_output=True, text=True, check=True).stdout

    assert "image-gateway" in script
    assert "_IMAGE_GATEWAY_COMPLETE" in script
