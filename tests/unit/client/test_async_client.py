"""The client for asyncio: the same requests and outcomes as those of the blocking one."""

import asyncio
import inspect
import io
import threading

import numpy as np
import pytest

from image_gateway_client import AsyncClient, Client, Health, ModelVersion, NoAnswerError, Problem, ProblemError
from image_gateway_client.jobs import uploads
from tests.support.contract_gateway import Reply, busy
from tests.support.waiting import until


@pytest.fixture
def run(gateway):
    """Return a function that runs a coroutine function with a client."""

    def run(function, **settings):
        async def call():
            async with AsyncClient(gateway.url, timeout_s=20, **settings) as client:
                return await function(client)

        return asyncio.run(call())

    return run


def summarize(outcomes):
    return [outcome.status if isinstance(outcome, Problem) else outcome.label for outcome in outcomes]


async def collect(outcomes):
    return [outcome async for outcome in outcomes]


def test_the_methods_are_those_of_the_blocking_client():
    def public(kind):
        return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)
    for name in public(Client):
        assert list(inspect.signature(getattr(AsyncClient, name)).parameters) == list(
            inspect.signature(getattr(Client, name)).parameters
        )


def test_one_image_in_every_form(run, gateway, tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"dog 1")

    async def classify(client):
        images = [b"cat 1", path, str(path), io.BytesIO(b"owl 1"), "https://a.example/bird"]
        return [await client.classify(image, model="pets", top_k=2) for image in images]

    assert summarize(run(classify)) == ["cat", "dog", "dog", "owl", "bird"]
    assert {(seen.path, seen.query["top_k"]) for seen in gateway.seen} == {("/api/v1/models/pets/predict", "2")}


def test_requests_are_sent_at_once(run, gateway):
    gateway.turns = threading.Semaphore(0)

    async def classify(client):
        answers = asyncio.gather(*(client.classify(b"n%d" % n) for n in range(5)))
        gateway.turns.release(5)
        return await answers

    assert summarize(run(classify)) == [f"n{n}" for n in range(5)]


def test_a_batch_counts_its_outcomes(run):
    batch = run(lambda client: client.classify_batch([b"cat", b"bad", "https://a.example/dog"]))

    assert summarize(batch) == ["cat", 422, "dog"]
    assert (batch.answered, batch.failed) == (2, 1)


def test_many_images_are_answered_in_order(run, gateway, tmp_path):
    images = [tmp_path / "none" if n % 7 == 3 else b"bad" if n % 5 == 4 else b"n%d" % n for n in range(100)]
    gateway.script.extend([busy(503), busy(429)])

    outcomes = run(lambda client: collect(client.classify_many(iter(images), batch_size=8)))

    assert summarize(outcomes) == [None if n % 7 == 3 else 422 if n % 5 == 4 else f"n{n}" for n in range(100)]
    assert max(map(len, gateway.batches)) <= 8


def test_a_refused_batch_is_split(run, gateway):
    gateway.max_images, gateway.failing = 3, {b"n5": 502}

    outcomes = run(lambda client: collect(client.classify_many([b"n%d" % n for n in range(8)])))

    assert summarize(outcomes) == [502 if n == 5 else f"n{n}" for n in range(8)]


def test_a_caller_who_stops_leaves_no_task_behind(run):
    async def stop(client):
        outcomes = client.classify_many((b"n%d" % n for n in range(1000)), batch_size=1)
        first = await anext(outcomes)
        await outcomes.aclose()
        return first, len(asyncio.all_tasks())

    first, tasks = run(stop)

    assert (first.label, tasks) == ("n0", 1)


def test_an_unusable_gateway_raises_after_the_outcomes_so_far(run, gateway):
    gateway.failing = {b"n6": 401}

    async def classify(client):
        outcomes = client.classify_many([b"n%d" % n for n in range(9)], batch_size=2)
        first = [(await anext(outcomes)).label for _ in range(6)]
        with pytest.raises(ProblemError, match="401"):
            await anext(outcomes)
        return first

    assert run(classify) == [f"n{n}" for n in range(6)]


def test_a_cancelled_call_ends_at_once(run, gateway):
    gateway.turns = threading.Semaphore(0)

    async def cancel(client):
        task = asyncio.create_task(client.classify(b"cat"))
        await asyncio.to_thread(until, lambda: gateway.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gateway.turns.release(10)
        return await client.classify(b"dog")

    assert run(cancel).label == "dog"


def test_a_cancelled_submission_closes_its_temporary_file(run, gateway, monkeypatch):
    is_started, may_end, uploads_made = threading.Event(), threading.Event(), []
    prepare = uploads.prepare

    def prepare_late(*arguments, **options):
        is_started.set()
        may_end.wait(30)
        uploads_made.append(prepare(*arguments, **options))
        return uploads_made[-1]

    monkeypatch.setattr(uploads, "prepare", prepare_late)

    async def cancel(client):
        task = asyncio.create_task(client.submit_job([b"cat"]))
        await asyncio.to_thread(is_started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()

    run(cancel)  # the end of the event loop waits for its threads

    assert [upload.archive.closed for upload in uploads_made] == [True]
    assert gateway.seen == []


def test_what_the_gateway_offers(run, gateway):
    gateway_version = Reply({"name": "image-gateway", "version": "7.8.9"})

    async def ask(client):
        names = [model.name for model in await client.models()]
        details = await client.model("pets")
        gateway.script.append(gateway_version)
        return names, details.version, await client.version(), await client.health(), await client.ready()

    assert run(ask) == (["pets", "birds"], 3, "7.8.9", Health(ready=True, model=ModelVersion("pets", 3)), True)


def test_errors_are_those_of_the_blocking_client(run):
    async def ask(client):
        for options, error, message in (
            ({"topk": 3}, TypeError, "Did you mean 'top_k'"),
            ({"version": 1}, ValueError, "name it"),
        ):
            with pytest.raises(error, match=message):
                await client.classify(b"cat", **options)
            with pytest.raises(error, match=message):
                client.classify_many([b"cat"], **options)
        with pytest.raises(TypeError, match="put it into a list"):
            await client.classify_batch("photo.jpg")
        with pytest.raises(FileNotFoundError):
            await client.classify("none.jpg")
        with pytest.raises(ValueError, match="not float32"):
            await client.classify(np.zeros((2, 2), np.float32))
        with pytest.raises(ProblemError, match="422"):
            await client.classify(b"bad")

    run(ask)


def test_an_unreachable_gateway_is_not_ready():
    async def ask():
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client:
            with pytest.raises(NoAnswerError, match=r"http://127\.0\.0\.1:1 cannot be reached: Connection refused"):
                await client.models()
            return await client.ready()

    assert asyncio.run(ask()) is False


def test_a_client_outlives_an_event_loop(gateway):
    client = AsyncClient(gateway.url)

    async def classify():
        answer = await client.classify(b"cat")
        await client.close()
        return answer.label

    assert [asyncio.run(classify()) for _ in range(3)] == ["cat"] * 3
