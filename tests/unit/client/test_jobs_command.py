"""`image-gateway jobs`: what it prints to which stream, and its exit status."""

import csv
import json
import zipfile

import pytest

from image_gateway_client import exchange
from image_gateway_client.jobs import plans
from tests.support.client_command import runner, screen
from tests.support.client_jobs import JobsGateway
from tests.support.contract_gateway import Reply

SECRET = "whsec_" + "A" * 32


@pytest.fixture
def gateway():
    with JobsGateway() as gateway:
        yield gateway


@pytest.fixture
def command(gateway, tmp_path, monkeypatch, capsys):
    return runner(gateway.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def pets(tmp_path):
    """A folder of five images, of which the gateway cannot decode the fourth."""
    folder = tmp_path / "pets"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(b"bad" if number == 3 else b"n%d" % number)
    (folder / "notes.txt").write_bytes(b"x")
    return folder


@pytest.mark.usefixtures("pets")
def test_a_job_from_its_submission_to_its_results(command, tmp_path):
    submitted = command("jobs", "submit", "pets", "-m", "pets")
    name = submitted.out.strip()
    waited = command("jobs", "wait", name)
    written = command("jobs", "results", name, "--out", "out.csv")

    assert (submitted.status, submitted.out) == (0, "job-0\n")
    assert submitted.err.splitlines() == [
        "1 other file left out (.txt 1)",
        "5 images. Next: image-gateway jobs wait job-0",
    ]
    assert (waited.status, waited.err) == (1, "job job-0 is done: 5 of 5 have a result, 1 failed\n")
    assert (written.status, written.out, written.err) == (1, "", "")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["class"], row["problem"]) for row in rows] == [
        (f"pets/{n}.jpg", "", "The image cannot be decoded") if n == 3 else (f"pets/{n}.jpg", f"n{n}", "")
        for n in range(5)
    ]


def test_success_is_status_0(command, pets):
    (pets / "3.jpg").unlink()
    command("jobs", "submit", "pets")

    assert command("jobs", "wait", "job-0").status == 0
    shown = command("jobs", "results", "job-0", "--format", "jsonl")

    assert (shown.status, shown.err) == (0, "")
    assert [json.loads(line)["class"] for line in shown.out.splitlines()] == ["n0", "n1", "n2", "n4"]


def test_results_of_a_running_job_are_continued(command, gateway, pets, tmp_path):
    (pets / "3.jpg").unlink()
    gateway.per_look = 1
    command("jobs", "submit", "pets")

    first = command("jobs", "results", "job-0", "--out", "out.jsonl")
    gateway.per_look = 10
    second = command("jobs", "results", "job-0", "--out", "out.jsonl")

    assert (first.status, second.status) == (1, 0)
    assert first.err == "job job-0 is running: 1 of 4 have a result, 0 failed\n"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"pets/{n}.jpg" for n in (0, 1, 2, 4)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_a_file_with_results_of_another_job_is_refused(command, pets, tmp_path, suffix):
    for name in ("1.jpg", "2.jpg"):
        (pets / name).write_bytes(name.encode())
        command("jobs", "submit", "pets")
    command("jobs", "results", "job-0", "--out", f"out.{suffix}")
    before = (tmp_path / f"out.{suffix}").read_bytes()

    refused = command("jobs", "results", "job-1", "--out", f"out.{suffix}")
    repeated = command("jobs", "results", "job-0", "--out", f"out.{suffix}")

    assert (refused.status, repeated.status) == (2, 1)
    assert f"out.{suffix} exists, and it has the results of another job, job-0. Choose another file" in refused.err
    assert (tmp_path / f"out.{suffix}").read_bytes() == before


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
@pytest.mark.usefixtures("pets")
def test_a_file_of_classify_is_not_one_of_a_job(command, gateway, tmp_path, suffix):
    command("jobs", "submit", "pets")
    command("jobs", "results", "job-0", "--out", f"job.{suffix}")
    before = (tmp_path / f"job.{suffix}").read_bytes()

    refused = command("classify", "pets", "--out", f"job.{suffix}")

    assert refused.status == 2
    assert f"job.{suffix} exists, and " in refused.err
    assert (tmp_path / f"job.{suffix}").read_bytes() == before
    assert not any("predict" in request for request in gateway.requests)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_images_of_one_name_are_told_by_their_index(command, gateway, tmp_path, suffix):
    names = ("1.jpg", "2.jpg", "3.jpg")
    with zipfile.ZipFile(tmp_path / "same.zip", "w") as archive:
        for name, data in zip(names, (b"cat", b"bad", b"owl"), strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)
    content = (tmp_path / "same.zip").read_bytes()
    for name in names:
        content = content.replace(name.encode(), b"s.jpg")
    (tmp_path / "same.zip").write_bytes(content)
    gateway.per_look = 1
    command("jobs", "submit", "same.zip")

    statuses = [command("jobs", "results", "job-0", "--out", f"out.{suffix}").status for _ in range(4)]

    text = (tmp_path / f"out.{suffix}").read_text()
    rows = list(csv.DictReader(text.splitlines())) if suffix == "csv" else list(map(json.loads, text.splitlines()))
    assert statuses == [1] * 4
    assert [(row["job"], int(row["index"]), row["image"]) for row in rows] == [
        ("job-0", index, "s.jpg") for index in range(3)
    ]
    assert [row.get("class") for row in rows if not row.get("problem")] == ["cat", "owl"]


def test_options_reach_the_gateway(command, gateway, pets, monkeypatch):
    arguments = ["--model", "pets", "--version", 3, "--top-k", 2, "--threshold", 0.5, "--idempotency-key", "monday"]
    monkeypatch.setenv("IMAGE_GATEWAY_WEBHOOK_SECRET", SECRET)

    assert command("jobs", "submit", pets, *arguments, "--webhook-url", "https://a.example").status == 0
    assert command("jobs", "submit", pets).status == 0

    first, second = gateway.jobs.values()
    assert (first.key, first.options) == (
        "monday",
        {
            "model": "pets",
            "version": "3",
            "top_k": "2",
            "threshold": "0.5",
            "webhook_url": "https://a.example",
            "webhook_secret": SECRET,
        },
    )
    assert second.options == {"top_k": "1"}


def test_urls_a_zip_file_and_the_standard_input(command, gateway, tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("cat.jpg", b"cat")

    command("jobs", "submit", "https://a.example/dog", "https://a.example/owl")
    command("jobs", "submit", "pets.zip")
    command("jobs", "submit", "-", stdin=b"fox")

    assert [[data for _, data in job.items] for job in gateway.jobs.values()] == [[b"dog", b"owl"], [b"cat"], [b"fox"]]


def test_the_state_of_a_job(command, gateway, pets):
    gateway.per_look = 2
    command("jobs", "submit", pets)

    shown = [line.split() for line in command("jobs", "status", "job-0").out.splitlines()]
    document = json.loads(command("jobs", "status", "job-0", "--json").out)

    assert ["status", "running"] in shown
    assert ["images", "2", "of", "5", "have", "a", "result,", "0", "failed"] in shown
    assert ["model", "pets", "version", "3"] in shown
    assert (document["answered"], document["failed"]) == (3, 1)
    assert document["created"] == "2026-03-04T12:00:00+00:00"
    assert document["results"] == "/api/v1/jobs/job-0/results"
    assert "problem" not in document


def test_a_cancelled_job_is_status_1_for_who_waits(command, gateway, pets):
    gateway.per_look = 0
    command("jobs", "submit", pets)

    cancelled = command("jobs", "cancel", "job-0")

    assert (cancelled.status, cancelled.err) == (0, "job job-0 is cancelled: 0 of 5 have a result, 0 failed\n")
    assert command("jobs", "wait", "job-0").status == 1


def test_waiting_shows_a_progress_bar_on_a_terminal(command, gateway, pets):
    gateway.per_look = 2
    command("jobs", "submit", pets)

    status, shown = screen(gateway.url, "jobs", "wait", "job-0")

    assert status == 1
    assert "done" in shown
    assert "5/5" in shown
    assert "5/5" not in command("jobs", "wait", "job-0").err


def test_a_wait_that_is_too_long_is_status_2(command, gateway, pets):
    gateway.per_look = 0
    command("jobs", "submit", pets)

    waited = command("jobs", "wait", "job-0", "--max-wait", "0.05")

    assert waited.status == 2
    assert waited.err == "error: job job-0 is still running after 0.05 s: 0 of 5 images\n"


def test_a_wait_says_once_that_the_gateway_is_away(command, gateway, pets, monkeypatch):
    (pets / "3.jpg").unlink()
    command("jobs", "submit", pets)
    for module in (exchange, plans):
        monkeypatch.setattr(module, "backoff_s", lambda _: 0)
    get, answers = gateway.get, iter([Reply({"title": "Busy\x1b[2J"}, 503)] * 9)
    monkeypatch.setattr(gateway, "get", lambda *look: next(answers, None) or get(*look))

    waited = command("jobs", "wait", "job-0")

    assert waited.status == 0
    assert waited.err.splitlines() == [
        "503 Busy\N{REPLACEMENT CHARACTER}[2J. Trying again while there is time to wait.",
        "job job-0 is done: 4 of 4 have a result, 0 failed",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit"], "Missing argument"),
        (["submit", "pets/0.jpg", "https://a.example/b"], "either URLs or files"),
        (["submit", "cut.zip"], "cut.zip is not a complete ZIP file"),
        (["submit", "cut.jpg"], "cut.jpg is not a complete ZIP file"),
        (["submit", "pets", "cut.zip"], "cut.zip is a ZIP file. Submit it as a separate job"),
        (["submit", "missing.jpg"], "No such file or directory: 'missing.jpg'"),
        (["submit", "pets", "--version", "1"], "name it"),
        (
            ["submit", "pets", "--webhook-url", "https://a.example"],
            "both --webhook-url and --webhook-secret, or IMAGE_GATEWAY_WEBHOOK_SECRET instead",
        ),
        (["submit", "pets", "--webhook-secret", SECRET], "both --webhook-url and --webhook-secret"),
        (["status", "none"], "There is no such job"),
        (["status", "a\udcff"], r"'a\udcff' is not the identifier of a job"),
        (["cancel", "job-0/results"], "'job-0/results' is not the identifier of a job"),
        (["results", "none", "--out", "notes.txt"], "does not say which format to write"),
    ],
)
def test_an_invalid_command_is_status_2(command, gateway, pets, arguments, message):
    for name in ("cut.zip", "cut.jpg"):
        (pets.parent / name).write_bytes(b"PK\x03\x04 cut off")

    result = command("jobs", *arguments)

    assert result.status == 2
    assert message in " ".join(result.err.split())
    assert gateway.jobs == {}


def test_the_help_names_the_variable_of_the_secret_on_a_narrow_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    assert "IMAGE_GATEWAY_WEBHOOK_SECRET" in command("jobs", "submit", "--help").out
