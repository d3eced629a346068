"""Jobs through real nginx, gunicorn, workers and model server: what is killed loses nothing, and webhooks arrive."""

import contextlib
import http.server
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from bench.jobs import make_archive, read_results
from image_gateway_client.keys import hash_key, make_key
from tests.support.jobs import SECRET
from tests.support.redis_server import make_redis
from tests.support.waiting import LONG_S, until
from tools.local_stack import LocalStack

IMAGES = 120
TIMEOUT_S = 30
LIGHT = {
    "GATEWAY_WORKERS": "1",
    "GATEWAY_JOBS": "sqlite",
    "GATEWAY_JOBS_LEASE_S": "1",
    "GATEWAY_JOBS_CHUNK_IMAGES": "8",
    "GATEWAY_JOBS_MAX_BYTES": "20000000",
}


class Receiver(http.server.ThreadingHTTPServer):
    """Receives webhooks; the first one is answered with an error."""

    def __init__(self) -> None:
        self.webhooks: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.webhooks.append((dict(self.headers), body))
        self.send_response(500 if len(self.server.webhooks) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def running(folder: Path, **settings: str) -> Iterator[LocalStack]:
    environment = {**LIGHT, "GATEWAY_JOBS_DIR": str(folder / "jobs"), **settings}
    with LocalStack(folder / "run", environment=environment) as stack:
        yield stack.start()


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """Two keys, by owner, and the setting that accepts them."""
    made = {name: make_key(name) for name in ("alice", "bob")}
    return made | {"lines": ",".join(hash_key(name, key) for name, key in made.items())}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    with running(tmp_path_factory.mktemp("jobs"), GATEWAY_FETCH_ALLOWED_HOSTS=receiver.authority) as stack:
        yield stack


def send(stack: LocalStack, archive: bytes | Iterator[bytes], **more: Any) -> requests.Response:
    headers = {"Content-Type": "application/zip", **more.pop("headers", {})}
    return requests.post(f"{stack.url}/api/v1/jobs", data=archive, headers=headers, timeout=TIMEOUT_S, **more)


def job_url(stack: LocalStack, response: requests.Response) -> str:
    assert response.status_code == 202, response.text
    return f"{stack.url}{response.headers['Location']}"


def read(url: str) -> dict[str, Any]:
    return requests.get(url, timeout=TIMEOUT_S).json()


def finished(url: str) -> dict[str, Any]:
    return until(lambda: (job := read(url)) and "finished" in job and job, LONG_S, "the job finished")


def count(url: str) -> int:
    job = read(url)
    return job["answered"] + job["failed"]


def kill_twice(stack: LocalStack, url: str) -> dict[str, Any]:
    """Kill the worker after a third and two thirds of a job, and return the job when it is finished."""
    for part in (1, 2):
        until(lambda part=part: count(url) >= IMAGES * part // 3, LONG_S, "progress")
        stack.end("jobs-worker", SIGKILL)
        stack.start_jobs_worker()
    return finished(url)


def check_results(url: str) -> None:
    results = list(read_results(url))
    assert [result["index"] for result in results] == list(range(IMAGES))
    assert [result["name"] for result in results] == [f"{index:06}.png" for index in range(IMAGES)]
    assert all(result["class"] for result in results)


def test_a_job_whose_worker_is_killed_twice_has_each_result_once(stack: LocalStack):
    url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10", "top_k": "1"}))

    job = kill_twice(stack, url)

    assert (job["status"], job["total"], job["answered"], job["failed"]) == ("done", IMAGES, IMAGES, 0)
    assert job["model"]["name"] == "cifar10"
    check_results(url)


def test_jobs_in_redis_survive_their_workers_as_well(tmp_path: Path):
    redis = make_redis(tmp_path)
    redis.start()
    try:
        with running(tmp_path, GATEWAY_JOBS="redis", GATEWAY_REDIS_URL=redis.url) as stack:
            url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10", "top_k": "1"}))

            job = kill_twice(stack, url)

            assert (job["status"], job["answered"]) == ("done", IMAGES)
            check_results(url)
    finally:
        redis.stop()


def test_a_webhook_is_signed_and_sent_again_until_it_is_accepted(stack: LocalStack, receiver: Receiver):
    receiver.webhooks.clear()
    options = {"model": "cifar10", "webhook_url": f"http://{receiver.authority}/hook", "webhook_secret": SECRET}
    url = job_url(stack, send(stack, make_archive(3), params=options))
    assert finished(url)["status"] == "done"

    job = until(lambda: (job := read(url))["webhook"]["status"] == "delivered" and job, LONG_S, "webhook delivered")

    assert len(receiver.webhooks) == 2
    assert len({headers["webhook-id"] for headers, _ in receiver.webhooks}) == 1
    for headers, body in receiver.webhooks:
        payload = Webhook(SECRET).verify(body, {name.lower(): value for name, value in headers.items()})
        assert (payload["id"], payload["status"], payload["answered"]) == (job["id"], "done", 3)
        assert SECRET.encode() not in body


def test_a_worker_that_is_stopped_gives_its_images_back(stack: LocalStack):
    url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10", "top_k": "1"}))
    until(lambda: count(url) > 0, LONG_S, "progress")

    assert stack.end("jobs-worker", SIGTERM) == 0
    stack.start_jobs_worker()

    assert finished(url)["answered"] == IMAGES


def test_a_model_server_that_restarts_fails_no_image(stack: LocalStack):
    url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10", "top_k": "1"}))
    until(lambda: count(url) > 0, LONG_S, "progress")

    stack.end("model-server", SIGKILL)
    stack.start_model_server()

    job = finished(url)
    assert (job["status"], job["answered"], job["failed"]) == ("done", IMAGES, 0)


def test_loopback_addresses_are_problems_of_their_own(stack: LocalStack):
    urls = ["http://127.0.0.1/a.png", "http://localhost/a.png", "http://[::1]/a.png", "http://169.254.169.254/meta"]

    response = requests.post(f"{stack.url}/api/v1/jobs", json={"urls": urls}, timeout=TIMEOUT_S)
    url = job_url(stack, response)

    job = finished(url)
    assert (job["status"], job["answered"], job["failed"]) == ("done", 0, 4)
    assert {result["type"] for result in read_results(url)} == {"/problems/fetch-refused"}


def test_a_job_is_cancelled_and_its_worker_goes_on(stack: LocalStack):
    url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10"}))

    cancelled = requests.delete(url, timeout=TIMEOUT_S).json()
    other = job_url(stack, send(stack, make_archive(2), params={"model": "cifar10"}))

    assert cancelled["status"] == "cancelled"
    assert finished(other)["answered"] == 2
    assert read(url)["answered"] == cancelled["answered"]


def test_nginx_has_a_limit_of_its_own_for_jobs(stack: LocalStack):
    accepted = send(stack, make_archive(1) + bytes(15_000_000))  # a form of 15 MB would be refused elsewhere

    assert accepted.status_code == 422, accepted.text  # it reached the gateway
    for body in (bytes(20_000_001), (bytes(1_000_000) for _ in range(21))):
        refused = send(stack, body)
        assert (refused.status_code, refused.json()["type"]) == (413, "/problems/body-too-large")
        assert refused.json()["max_bytes"] == 20_000_000
        assert "job" in refused.json()["detail"]


def test_an_upload_in_chunks_of_unknown_size_is_received(stack: LocalStack):
    archive = make_archive(4)
    pieces = (archive[start : start + 1000] for start in range(0, len(archive), 1000))

    assert finished(job_url(stack, send(stack, pieces, params={"model": "cifar10"})))["answered"] == 4


def test_predictions_are_answered_while_a_job_runs(stack: LocalStack, photos: list[tuple[Path, str]]):
    url = job_url(stack, send(stack, make_archive(IMAGES), params={"model": "cifar10", "top_k": "1"}))

    def predict(_: int) -> int:
        photo = photos[0][0].read_bytes()
        return requests.post(stack.predict_url, files={"image": photo}, timeout=TIMEOUT_S).status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = set(pool.map(predict, range(10)))

    assert statuses == {200}
    assert finished(url)["answered"] == IMAGES


def test_requests_that_arrive_twice_create_one_job(stack: LocalStack):
    headers = {"Idempotency-Key": f"once-{time.time_ns()}"}
    archive = make_archive(2)

    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: send(stack, archive, headers=headers), range(4)))

    assert len({job_url(stack, response) for response in responses}) == 1


def test_nobody_sees_the_jobs_of_another_key(tmp_path: Path, keys: dict[str, str]):
    with running(tmp_path, GATEWAY_API_KEYS=keys["lines"]) as stack:
        response = send(stack, make_archive(1), headers={"X-API-Key": keys["alice"]})
        url = job_url(stack, response)

        def ask(method: str, key: str, path: str = "") -> requests.Response:
            return requests.request(method, f"{url}{path}", headers={"X-API-Key": key}, timeout=TIMEOUT_S)

        until(lambda: ask("GET", keys["alice"]).json()["status"] == "done", LONG_S, "the job done")
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            refused = ask(method, keys["bob"], path)
            assert (refused.status_code, refused.json()["type"]) == (404, "/problems/job-not-found")
            assert ask(method, "", path).status_code == 401
        assert json.loads(ask("GET", keys["alice"], "/results").text)["index"] == 0


def test_hostile_archives_are_refused_and_nothing_is_lost(stack: LocalStack):
    good = job_url(stack, send(stack, make_archive(2), params={"model": "cifar10"}))

    def pack(fill: Callable[[zipfile.ZipFile], None]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive)
        return file.getvalue()

    bomb = pack(lambda archive: [archive.writestr(f"{index}.bmp", bytes(9_000_000)) for index in range(10)])
    crowd = pack(lambda archive: [archive.writestr(f"{index}", b"") for index in range(100_000)])
    outside = pack(lambda archive: archive.writestr("/etc/cron.d/job", b"x"))

    types = [send(stack, archive).json()["type"] for archive in (bomb, crowd, outside)]

    assert types == ["/problems/unusable-archive", "/problems/too-many-images", "/problems/unusable-archive"]
    assert finished(good)["answered"] == 2
