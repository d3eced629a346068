"""Jobs of the client and its command against the real stack, with the worker that `make run` starts."""

import asyncio
import csv
import zipfile

import pytest

from image_gateway_client import AsyncClient, ModelVersion, Problem, ProblemError
from tools.committed_models import newest_version

VERSION = int(newest_version("digits").name)
DIGITS = [str(digit) for digit in range(10)]


def summarize(results):
    """Return the label of each classification and the type of each problem."""
    return [result.outcome.type if isinstance(result.outcome, Problem) else result.outcome.label for result in results]


def test_a_folder_is_classified_in_the_background(client, folder):
    seen = []

    submitted = client.submit_job(folder, model="digits", top_k=2)
    job = client.wait_for_job(submitted, progress=seen.append, timeout_s=100)
    results = list(client.job_results(job))

    assert (submitted.total, job.status, job.failed) == (11, "done", 1)
    assert seen[-1] == job
    assert (job.model.name, job.model.version) == ("digits", VERSION)
    assert job.created <= job.started <= job.finished < job.expires
    assert summarize(results) == [*DIGITS, "/problems/unreadable-image"]
    assert [result.index for result in results] == list(range(11))
    assert results[3].name.endswith("3.png")
    assert results[3].outcome.model == ModelVersion("digits", VERSION)
    assert len(results[3].outcome.predictions) == 2


def test_urls_and_a_zip_file_are_classified(client, golden, image_host, tmp_path):
    host_folder, host = image_host
    (host_folder / "job-six.png").write_bytes(golden[6][0])
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("5.png", golden[5][0])
        archive.writestr("2.png", golden[2][0])

    jobs = [
        client.submit_job([f"http://{host}/job-six.png", f"http://{host}/none.png"], model="digits"),
        client.submit_job(tmp_path / "two.zip", model="digits"),
    ]
    outcomes = [summarize(client.job_results(client.wait_for_job(job, timeout_s=100))) for job in jobs]

    assert outcomes == [["6", "/problems/fetch-failed"], ["5", "2"]]


def test_asyncio_gets_the_same_results(stack, golden):
    async def classify():
        async with AsyncClient(stack.url) as client:
            job = await client.submit_job([data for data, _, _ in golden], model="digits")
            await client.wait_for_job(job, timeout_s=100)
            return [result async for result in client.job_results(job)]

    assert summarize(asyncio.run(classify())) == DIGITS


def test_the_same_key_returns_the_same_job(client, folder):
    (folder / "cut.png").unlink()
    first = client.submit_job(folder, model="digits", idempotency_key=f"e2e-{folder}".replace("/", "-"))
    second = client.submit_job(folder, model="digits", idempotency_key=f"e2e-{folder}".replace("/", "-"))

    assert first.id == second.id
    with pytest.raises(ProblemError) as refused:
        client.submit_job(folder, model="cifar10", idempotency_key=f"e2e-{folder}".replace("/", "-"))
    assert refused.value.problem.type == "/problems/idempotency-key-reused"


def test_a_job_that_has_ended_stays_as_it_is(client, golden):
    job = client.wait_for_job(client.submit_job([golden[1][0]], model="digits"), timeout_s=100)

    assert client.cancel_job(job).status == "done"
    assert summarize(client.job_results(job)) == ["1"]


def test_an_unknown_job_is_a_problem(client):
    with pytest.raises(ProblemError) as refused:
        client.job("00000000-0000-0000-0000-000000000000")
    assert refused.value.problem.type == "/problems/job-not-found"


def test_the_command_from_submission_to_results(command, folder, tmp_path):
    name = command("jobs", "submit", folder.name, "--model", "digits").out.strip()
    waited = command("jobs", "wait", name, "--max-wait", 100)
    written = command("jobs", "results", name, "--out", "out.csv")

    assert (waited.status, written.status) == (1, 1)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {label: rows[f"pictures/{label}.png"]["class"] for label in DIGITS} == dict(zip(DIGITS, DIGITS, strict=True))
    assert rows["pictures/cut.png"]["problem"] == "The image cannot be decoded"
    assert "done" in command("jobs", "status", name).out
