"""Jobs: what is sent, waiting, and results page by page; for both clients."""

import asyncio
import io
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from image_gateway_client import (
    AsyncClient,
    Client,
    JobModel,
    JobNotFinishedError,
    NoAnswerError,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
    Webhook,
    exchange,
)
from image_gateway_client.jobs import plans
from image_gateway_client.jobs.uploads import prepare
from tests.support.client_jobs import JobsGateway
from tests.support.contract_gateway import Reply

SECRET = "whsec_" + "A" * 32


@pytest.fixture
def gateway():
    with JobsGateway() as gateway:
        yield gateway


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a folder of five images, of which the gateway cannot decode the fourth."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets" / "wild").mkdir(parents=True)
    for number in range(4):
        (tmp_path / f"pets/{number}.jpg").write_bytes(b"bad" if number == 3 else b"n%d" % number)
    (tmp_path / "pets/wild/owl.png").write_bytes(b"owl")
    (tmp_path / "pets/notes.txt").write_bytes(b"x")
    return tmp_path


class BlockingJobs:
    """The methods of `Client` for jobs."""

    def __init__(self, url, **settings):
        self.url = url
        self.settings = settings

    def __getattr__(self, name):
        def run(*arguments, **options):
            with Client(self.url, **self.settings) as client:
                result = getattr(client, name)(*arguments, **options)
                return list(result) if name == "job_results" else result

        return run


class AsyncJobs(BlockingJobs):
    """The methods of `AsyncClient` for jobs."""

    def __getattr__(self, name):
        async def collect(*arguments, **options):
            async with AsyncClient(self.url, **self.settings) as client:
                result = getattr(client, name)(*arguments, **options)
                return [item async for item in result] if name == "job_results" else await result

        return lambda *arguments, **options: asyncio.run(collect(*arguments, **options))


@pytest.fixture(params=[BlockingJobs, AsyncJobs])
def client(request, gateway):
    return request.param(gateway.url)


def summarize(results):
    return [
        (
            result.index,
            result.name,
            result.outcome.status if isinstance(result.outcome, Problem) else result.outcome.label,
        )
        for result in results
    ]


@pytest.mark.usefixtures("folder")
def test_the_images_of_a_folder_are_classified(client, gateway):
    job = client.submit_job("pets", model="pets", top_k=2, threshold=0.5)
    assert (job.status, job.total, job.model, job.is_finished) == ("queued", 5, JobModel("pets"), False)

    done = client.wait_for_job(job)
    results = client.job_results(job)

    assert (done.status, done.processed, done.answered, done.failed) == ("done", 5, 4, 1)
    assert done.model == JobModel("pets", 3)
    assert gateway.jobs[job.id].options == {"model": "pets", "top_k": "2", "threshold": "0.5"}
    assert summarize(results) == [
        (0, "pets/0.jpg", "n0"),
        (1, "pets/1.jpg", "n1"),
        (2, "pets/2.jpg", "n2"),
        (3, "pets/3.jpg", 422),
        (4, "pets/wild/owl.png", "owl"),
    ]
    assert (results[0].outcome.model.version, results[0].outcome.request_id) == (3, "r-9")


def test_urls_are_sent_as_they_are(client, gateway):
    urls = [f"https://a.example/{name}" for name in ("cat", "bad", "dog")]

    job = client.submit_job(iter(urls), top_k=1, webhook_url="https://b.example/done", webhook_secret=SECRET)
    client.wait_for_job(job.id)

    assert gateway.jobs[job.id].options == {
        "top_k": 1,
        "webhook_url": "https://b.example/done",
        "webhook_secret": SECRET,
    }
    assert job.webhook == Webhook("https://b.example/done", "pending")
    assert summarize(client.job_results(job.id)) == [(0, urls[0], "cat"), (1, urls[1], 422), (2, urls[2], "dog")]


@pytest.mark.usefixtures("folder")
def test_every_form_of_an_image_has_a_name_of_its_own(client, gateway):
    images = [
        "pets/0.jpg",
        Path("pets/0.jpg"),
        str(Path("pets/0.jpg").absolute()),
        "pets/wild/../1.jpg",
        b"cat",
        io.BytesIO(b"dog"),
        np.frombuffer(b"owl", np.uint8),
    ]

    job = client.submit_job(images)

    names = [name for name, _ in gateway.jobs[job.id].items]
    assert names[:2] == ["pets/0.jpg", "1/pets/0.jpg"]
    assert names[3:] == ["pets/wild/1.jpg", "image-4", "image-5", "image-6"]
    assert len(set(names)) == len(images)
    assert not any(name.startswith("/") or ".." in name for name in names)


def test_results_are_joined_with_the_images_by_their_index(client, folder):
    images = [folder / "pets/wild/owl.png", "pets/../pets/1.jpg", folder / "pets/1.jpg", "pets/0.jpg", b"cat"]

    results = client.job_results(client.wait_for_job(client.submit_job(images)))

    assert [(images[result.index], result.outcome.label) for result in results] == list(
        zip(images, ["owl", "n1", "n1", "n0", "cat"], strict=True)
    )
    assert [result.name for result in results] == [
        str(folder / "pets/wild/owl.png").removeprefix("/"),
        "pets/pets/1.jpg",
        str(folder / "pets/1.jpg").removeprefix("/"),
        "pets/0.jpg",
        "image-4",
    ]


@pytest.mark.parametrize("path", ["pets", "./pets/", "{folder}/pets", "pets/../pets", "."])
def test_the_names_in_a_folder_begin_with_the_folder(client, gateway, folder, path):
    job = client.submit_job(path.format(folder=folder))

    names = [name for name, _ in gateway.jobs[job.id].items]
    assert [name.removeprefix("pets/../") for name in names][:2] == ["pets/0.jpg", "pets/1.jpg"]


def test_a_zip_file_is_sent_as_it_is(client, gateway, tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat.jpg", b"cat")
        archive.writestr("dog.jpg", b"dog")

    job = client.submit_job(tmp_path / "pets.zip")

    assert gateway.jobs[job.id].items == [("cat.jpg", b"cat"), ("dog.jpg", b"dog")]


def test_the_gateway_may_take_its_own_time_for_an_upload(client, gateway, folder):
    client.job(client.submit_job(folder / "pets"))

    submitted, asked = gateway.headers
    assert "X-Request-Timeout" not in submitted
    assert float(asked["X-Request-Timeout"]) <= 60


def test_the_default_model_is_unknown_until_it_has_answered(client):
    job = client.submit_job([b"cat"])

    assert job.model is None
    assert client.wait_for_job(job).model == JobModel("pets", 3)


def test_a_job_is_submitted_once_even_if_the_connection_breaks(client, gateway, folder):
    gateway.broken = 2

    job = client.submit_job(folder / "pets")

    assert list(gateway.jobs) == [job.id]
    assert gateway.requests == ["POST /api/v1/jobs"] * 3


def test_the_same_key_returns_the_same_job(client, gateway, folder):
    first = client.submit_job(folder / "pets", idempotency_key="monday")
    second = client.submit_job(folder / "pets", idempotency_key="monday")
    other = client.submit_job(folder / "pets")

    assert first.id == second.id != other.id
    assert {gateway.jobs[first.id].key, gateway.jobs[other.id].key} > {"monday"}


def test_the_progress_is_reported(client, gateway):
    gateway.per_look = 2
    job = client.submit_job([b"a", b"b", b"c", b"d", b"e"])
    seen = []

    client.wait_for_job(job, progress=lambda state: seen.append((state.status, state.answered)))

    assert seen == [("running", 2), ("running", 4), ("done", 5)]


def test_an_asynchronous_report_is_awaited_by_the_client_with_asyncio(gateway):
    job = BlockingJobs(gateway.url).submit_job([b"a"])
    seen = []

    async def report(state):
        await asyncio.sleep(0)
        seen.append(state.status)

    AsyncJobs(gateway.url).wait_for_job(job, progress=report)
    with pytest.raises(TypeError, match=r"the function is asynchronous\. Use AsyncClient"):
        BlockingJobs(gateway.url).wait_for_job(job, progress=report)

    assert seen == ["done"]


def test_without_time_to_wait_a_job_is_looked_at_once(client, gateway):
    gateway.per_look = 0
    job = client.submit_job([b"a"])
    gateway.requests.clear()

    with pytest.raises(JobNotFinishedError):
        client.wait_for_job(job, timeout_s=0)

    assert len(gateway.requests) == 1


def test_waiting_has_an_end(client, gateway):
    gateway.per_look = 0
    job = client.submit_job([b"a", b"b"])

    with pytest.raises(JobNotFinishedError, match=r"still running after 0\.05 s: 0 of 2 images") as refused:
        client.wait_for_job(job, timeout_s=0.05)

    assert refused.value.transient
    assert refused.value.job.id == job.id


@pytest.fixture
def no_pauses(monkeypatch):
    """Retries follow each other at once."""
    for module in (plans, exchange):
        monkeypatch.setattr(module, "backoff_s", lambda _: 0)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "reply", [None, Reply({}, 502), Reply({}, 503), Reply({}, 503, {"Retry-After": "0"}), Reply({}, 504)]
)
def test_a_gateway_that_is_away_for_a_while_is_waited_for(client, gateway, monkeypatch, caplog, reply):
    gateway.per_look = 1
    job = client.submit_job([b"a", b"b"])
    get = gateway.get
    monkeypatch.setattr(gateway, "get", lambda *look: reply if 1 < len(gateway.requests) < 20 else get(*look))

    assert client.wait_for_job(job).status == "done"

    assert len(gateway.requests) == 21
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("no_pauses")
def test_a_gateway_that_stays_away_is_given_up_when_the_time_is_over(client, gateway, monkeypatch):
    gateway.per_look = 1
    job = client.submit_job([b"a", b"b"])
    get = gateway.get
    monkeypatch.setattr(gateway, "get", lambda *look: get(*look) if len(gateway.requests) < 2 else None)

    with pytest.raises(NoAnswerError):
        client.wait_for_job(job, timeout_s=0.5)

    assert len(gateway.requests) > 9


def test_a_url_that_never_answered_is_not_waited_for(client):
    with pytest.raises(NoAnswerError, match="cannot be reached"):
        type(client)("http://127.0.0.1:1", retries=0).wait_for_job("job-0", timeout_s=3600)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_problem_that_waiting_does_not_mend_ends_it(client, gateway, monkeypatch, status):
    monkeypatch.setattr(gateway, "get", lambda *_: Reply({"title": "No"}, status))

    with pytest.raises(ProblemError, match=str(status)):
        client.wait_for_job("job-0")

    assert len(gateway.requests) == 1


def test_results_are_read_page_by_page(client, gateway, monkeypatch):
    monkeypatch.setattr(plans, "PAGE_SIZE", 3)
    job = client.wait_for_job(client.submit_job([b"n%d" % n for n in range(8)]))
    gateway.requests.clear()

    results = client.job_results(job, offset=1)

    assert summarize(results) == [(n, f"image-{n}", f"n{n}") for n in range(1, 8)]
    pages = [request for request in gateway.requests if "/results?" in request]
    assert [page.partition("?")[2] for page in pages] == [
        f"offset={offset}&limit=3&format=jsonl" for offset in (1, 4, 7)
    ]


def test_a_cancelled_job_with_gaps_has_each_result_once(client, gateway, monkeypatch):
    monkeypatch.setattr(plans, "PAGE_SIZE", 2)
    gateway.per_look, gateway.missing = 9, frozenset({1, 4, 5})
    job = client.job(client.submit_job([b"n%d" % n for n in range(10)]))
    client.cancel_job(job)

    assert [result.index for result in client.job_results(job)] == [0, 2, 3, 6, 7, 8]


@pytest.mark.parametrize("indexes", [[1, 0], [0, 0], [-1]])
def test_results_that_would_never_end_are_refused(client, gateway, monkeypatch, indexes):
    job = client.submit_job([b"a", b"b"])
    results = gateway.results

    def repeat(*arguments):
        lines = results(*arguments)[0].splitlines()
        return b"\n".join(lines[0].replace(b'"index": 0', b'"index": %d' % index) for index in indexes), True

    monkeypatch.setattr(gateway, "results", repeat)

    with pytest.raises(UnexpectedAnswerError, match="in another order, or with one twice"):
        client.job_results(job)


def test_the_results_of_a_running_job_end_with_those_that_are_there(client, gateway):
    gateway.per_look = 2
    job = client.submit_job([b"a", b"b", b"c", b"d", b"e"])

    assert summarize(client.job_results(job)) == [(0, "image-0", "a"), (1, "image-1", "b")]
    assert [result.index for result in client.job_results(job, offset=2)] == [2, 3]


def test_a_job_may_be_answered_while_its_results_are_read(client, gateway, monkeypatch):
    gateway.per_look = 0
    job = client.submit_job([b"a", b"b"])
    results = gateway.results

    def answer_and_return_results(*arguments):
        gateway.jobs[job.id].processed = 2
        return results(*arguments)

    monkeypatch.setattr(gateway, "results", answer_and_return_results)

    assert [result.outcome.model.version for result in client.job_results(job)] == [3, 3]


def test_a_cancelled_job_keeps_its_results(client, gateway):
    gateway.per_look = 1
    job = client.submit_job([b"a", b"b", b"c"])
    client.job(job)

    cancelled = client.cancel_job(job)

    assert (cancelled.status, cancelled.is_finished) == ("cancelled", True)
    assert client.wait_for_job(job).status == "cancelled"
    assert summarize(client.job_results(job)) == [(0, "image-0", "a")]


def test_a_failed_job_says_why(client, gateway):
    job = client.submit_job([b"a"])
    gateway.jobs[job.id].status = "failed"

    failed = client.wait_for_job(job)

    assert (failed.status, failed.problem.title) == ("failed", "The model is gone")


def test_a_job_that_does_not_exist_is_a_problem(client):
    for ask in (client.job, client.wait_for_job, client.job_results):
        with pytest.raises(ProblemError) as refused:
            ask("none")
        assert refused.value.problem.type == "/problems/job-not-found"


@pytest.mark.parametrize("name", ["", ".", "..", "../none", "job-0/results", "a\udcff", "a\n", None, 3, b"job-0"])
def test_an_identifier_that_would_lead_to_another_route_is_not_sent(client, gateway, name):
    for ask in (client.job, client.wait_for_job, client.job_results, client.cancel_job):
        with pytest.raises(ValueError, match="is not the identifier of a job"):
            ask(name)
    assert gateway.requests == []


@pytest.mark.parametrize("timeout_s", [-1, float("inf"), float("nan"), 1e10])
def test_times_to_wait_have_a_limit(client, gateway, timeout_s):
    with pytest.raises(ValueError, match="timeout_s must be above 0 and at most"):
        client.submit_job([b"a"], timeout_s=timeout_s)
    with pytest.raises(ValueError, match="timeout_s must be above 0 and at most"):
        client.wait_for_job("job-0", timeout_s=timeout_s)
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("images", "options", "error"),
    [
        ([], {}, ValueError("no images to submit")),
        (b"cat", {}, TypeError("expected several images, not a single bytes; put it into a list")),
        ("https://a.example/cat", {}, TypeError("put it into a list")),
        (io.BytesIO(b"cat"), {}, TypeError("put it into a list")),
        ([b"a", "https://a.example/b"], {}, ValueError("either URLs or files")),
        (["https://a.example/b", b"a"], {}, ValueError("either URLs or files")),
        ("pets/0.jpg", {}, ValueError("neither a folder nor a ZIP file. Put a single image into a list")),
        ("missing.zip", {}, FileNotFoundError("missing.zip")),
        ([b"a", "pets/none.jpg"], {}, FileNotFoundError("pets/none.jpg")),
        ([b"a", 3], {}, TypeError("an image is a path")),
        ([b"a"], {"topk": 3}, TypeError("Did you mean 'top_k'")),
        ([b"a"], {"explain": True}, TypeError("no option 'explain'")),
        ([b"a"], {"version": 3}, ValueError("name it")),
        ([b"a"], {"webhook_url": "https://a.example"}, ValueError("both webhook_url and webhook_secret")),
        ([b"a"], {"idempotency_key": "two words"}, ValueError("visible ASCII")),
        ([b"a"], {"idempotency_key": "a\r\nb"}, ValueError("visible ASCII")),
        ([b"a"], {"idempotency_key": "x" * 256}, ValueError("visible ASCII")),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_job_that_is_not_valid_is_not_sent(client, gateway, images, options, error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        client.submit_job(images, **options)
    assert gateway.requests == []


def test_many_files_are_never_in_memory_together(tmp_path):
    for number in range(200):
        (tmp_path / f"{number:03}.jpg").write_bytes(bytes(100_000))

    tracemalloc.start()
    upload = prepare(tmp_path, max_bytes=1_000_000)
    sent_bytes = sum(map(len, upload.make_body({}).chunks()))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    upload.close()

    assert sent_bytes > 200 * 100_000
    assert peak_bytes < 3_000_000


def test_the_same_images_make_the_same_archive():
    first, second = (prepare([b"a", b"b"], max_bytes=10) for _ in range(2))

    assert first.archive.seek(0) == second.archive.seek(0) == 0
    assert first.archive.read() == second.archive.read() != b""
    first.close()
    second.close()
