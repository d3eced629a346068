"""The command: what it prints where, and the status it ends with."""

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.client_command import runner
from tests.support.contract_gateway import ContractGateway, busy, problem
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def command(gateway, tmp_path, monkeypatch, capsys):
    return runner(gateway.url, tmp_path, monkeypatch, capsys)


def program(gateway, *arguments):
    """Give the arguments of `subprocess` to run it as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMAGE_GATEWAY_URL": gateway.url, "TERM": "xterm"}
    return {"args": [sys.executable, "-m", "image_gateway_client", *map(str, arguments)], "env": environment}


@pytest.fixture
def pets(tmp_path):
    """A folder of ten pictures, of which the gateway refuses the fourth."""
    folder = tmp_path / "pets"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.jpg").write_bytes(b"bad" if number == 3 else b"n%d" % number)
    return folder


def rows(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def test_a_folder_becomes_a_table_in_order_and_one_bad_file_a_row(command, pets, gateway):
    ended = command("classify", pets.name, "--batch-size", 4)
    assert ended.status == 1
    named = rows(ended.out)
    assert [row[:3] for row in named if row[0].startswith("pets/")] == [
        [f"pets/{n}.jpg", "The", "image"] if n == 3 else [f"pets/{n}.jpg", f"n{n}", "75.0%,"] for n in range(10)
    ]
    assert ended.told == "10 pictures: 9 answered, 1 with a problem\n"
    assert sorted(map(len, gateway.batches)) == [2, 4, 4]


def test_all_well_is_status_0(command, pets):
    ended = command("classify", pets / "1.jpg", pets / "2.jpg")
    assert (ended.status, ended.told) == (0, "2 pictures: 2 answered, 0 with a problem\n")


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


def test_one_picture_on_the_standard_input(command, gateway):
    ended = command("classify", "-", "--format", "jsonl", stdin=b"owl 1")
    answer = json.loads(ended.out)
    assert (answer["image"], answer["class"], ended.status, ended.told) == ("-", "owl", 0, "")
    assert gateway.batches == [(b"owl 1",)]


def test_urls_and_files_in_one_run(command, pets, gateway):
    ended = command("classify", "http://a.example/fox", pets / "1.jpg", "--format", "csv", "--top-k", 2)
    table = list(csv.DictReader(io.StringIO(ended.out)))
    assert [(row["image"], row["class"], row["class_2"]) for row in table] == [
        ("http://a.example/fox", "fox", "else"),
        (str(pets / "1.jpg"), "n1", "else"),
    ]
    assert len(gateway.seen) == 1


def test_the_suffix_of_the_file_says_the_format(command, pets, tmp_path):
    for name, first in (("a.json", b"["), ("a.jsonl", b'{"image": '), ("a.csv", b"image,class"), ("a.txt", b"  ")):
        assert command("classify", pets / "1.jpg", "--out", name).status == 0
        assert (tmp_path / name).read_bytes().startswith(first), name
    assert command("classify", pets / "1.jpg", "--out", "b.json", "--format", "csv").status == 0
    assert (tmp_path / "b.json").read_bytes().startswith(b"image,class")


def test_a_run_goes_on_where_it_was_killed(gateway, command, pets, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    arguments = ["classify", "pets", "--out", "out.jsonl", "--batch-size", "2", "--connections", "1"]
    gateway.turns = threading.Semaphore(3)
    with subprocess.Popen(**program(gateway, *arguments), cwd=tmp_path) as process:
        until(lambda: out.exists() and out.read_bytes().count(b"\n") == 6, 60, "three batches written")
        process.kill()
    with out.open("ab") as file:
        file.write(b'{"image": "pets/6.jpg", "class')  # what a kill in the middle of a line leaves
    (pets / "3.jpg").write_bytes(b"mended")

    with ContractGateway() as later:
        monkeypatch.setenv("IMAGE_GATEWAY_URL", later.url)
        ended = command(*arguments)
        assert ended.status == 0
        assert ended.told == "10 pictures: 5 answered, 5 answered by an earlier run, 0 with a problem\n"
        assert later.batches == [(b"mended", b"n6"), (b"n7", b"n8"), (b"n9",)]
        again = command(*arguments)
        assert again.told == "10 pictures: 0 answered, 10 answered by an earlier run, 0 with a problem\n"
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert {item["image"]: item["class"] for item in lines} == {
        f"pets/{n}.jpg": "mended" if n == 3 else f"n{n}" for n in range(10)
    }
    assert len(lines) == 10


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_a_gateway_that_cannot_be_used_is_status_2_and_says_how_to_go_on(command, pets, gateway, tmp_path, status):
    gateway.failing = {b"n6": status}
    ended = command("classify", pets, "--out", "out.csv", "--batch-size", 2, "--connections", 1, "--retries", 0)
    assert ended.status == 2
    assert ended.told.splitlines() == [
        "What has been answered is in out.csv; the same command goes on from there.",
        f"error: {status} Failed",
    ]
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 1 + 6


def test_nobody_there_is_one_line_and_status_2(command, pets):
    for arguments in (["classify", str(pets)], ["models"], ["health"]):
        ended = command(*arguments, "--url", "http://127.0.0.1:1")
        assert ended.status == 2
        assert ended.told == "error: http://127.0.0.1:1 cannot be reached: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["classify"], "Missing argument"),
        (["classify", "bare"], "there is no picture to ask about"),
        (["classify", "x", "--version", "1"], "name it"),
        (["classify", "x", "--model", "m", "--version", "1", "--label", "l"], "not both"),
        (["classify", "x", "--top-k", "0"], "--top-k"),
        (["classify", "x", "--threshold", "1.5"], "--threshold"),
        (["classify", "x", "--format", "xml"], "--format"),
        (["classify", "x", "--url", "localhost"], "is no address of a gateway"),
        (["classify", "x", "--api-key", "k y\u00e9"], "an API key is printable ASCII"),
        (["classify", "x", "--out", "none/out.csv"], "No such file or directory: 'none/out.csv'"),
        (["classify", "x", "--out", "photo.csv"], "name another file, or remove it"),
        (["clasify", "x"], "No such command"),
    ],
)
def test_what_cannot_be_understood_is_status_2(command, gateway, tmp_path, arguments, told):
    (tmp_path / "bare").mkdir()
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8 a photo")
    ended = command(*arguments)
    assert ended.status == 2
    assert told in ended.told
    assert gateway.seen == []
    assert (tmp_path / "photo.csv").read_bytes() == b"\xff\xd8 a photo"


def test_an_empty_folder_beside_pictures_is_told(command, pets, tmp_path):
    (tmp_path / "bare").mkdir()
    ended = command("classify", "bare", pets / "1.jpg")
    assert (ended.status, ended.told) == (0, "bare: no picture in this folder\n")


def test_a_reader_who_has_seen_enough_is_no_failure_to_tell(gateway, pets):
    reader, writer = os.pipe()
    os.close(reader)
    arguments = program(gateway, "classify", pets, "--format", "jsonl")
    try:
        ended = subprocess.run(**arguments, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def screen(gateway, *arguments):
    """Run it on a terminal; return the status and what the terminal was sent."""
    control, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            **program(gateway, *arguments), stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        shown = b""
        with process, contextlib.suppress(OSError):  # EIO: nobody holds the terminal's other end any more
            while part := os.read(control, 65536):
                shown += part
        return process.returncode, shown.decode()
    finally:
        os.close(control)


def test_a_bar_is_shown_on_a_terminal_alone(gateway, command, pets, tmp_path):
    status, shown = screen(gateway, "classify", pets, "--out", tmp_path / "out.csv")
    assert status == 1
    assert "classifying" in shown
    assert "10/10" in shown
    assert "classifying" not in command("classify", pets).told


def test_a_bar_does_not_break_up_lines_on_the_same_terminal(gateway, pets):
    status, shown = screen(gateway, "classify", pets, "--format", "jsonl")
    assert status == 1
    assert "classifying" not in shown
    assert [json.loads(line)["image"] for line in shown.splitlines()[:10]] == [
        str(pets / f"{n}.jpg") for n in range(10)
    ]


def test_the_models(command):
    ended = command("models")
    assert ended.status == 0
    assert ["pets", "(default)", "3", "multiclass", "2", "Pets"] in rows(ended.out)
    assert ["birds", "-", "-", "-", "birds", "is", "loading."] in rows(ended.out)
    pets, birds = json.loads(command("models", "--json").out)
    assert (pets["labels"], birds["available"]) == (["cat", "dog"], False)


def test_one_model(command):
    told = rows(command("models", "pets").out)
    assert ["versions", "3", "(stable)", "AVAILABLE"] in told
    assert ["metrics", "accuracy", "0.9"] in told
    assert ["licence", "Apache-2.0"] in told
    assert json.loads(command("models", "pets", "--json").out)["card"]["metrics"] == {"accuracy": 0.9}
    ended = command("models", "cats")
    assert (ended.status, ended.told) == (2, "error: 404 Not Found\n")


def test_health(command, gateway):
    ended = command("health")
    assert (ended.status, ended.out) == (0, f"{gateway.url} is ready: pets version 3 answers\n")
    gateway.script.append(busy())
    ended = command("health")
    assert (ended.status, ended.out) == (1, f"{gateway.url} is not ready: Busy\n")
    gateway.script.append(problem(401, "Who are you"))
    assert command("health").status == 1


def test_help_and_version(command):
    shown = command("--help")
    assert shown.status == 0
    for name in ("classify", "models", "health"):
        assert name in shown.out
    assert command("--version").out.startswith("image-gateway ")
    assert command().status == 2
