"""The routes of jobs, over SQLite and without a worker but where a test is one."""

import base64
import csv
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, ImageUnreadableError
from gateway.http.request_parser import MAX_URL_BYTES
from gateway.jobs import documents
from gateway.jobs.chunks import ChunkLimits, ChunkRunner
from gateway.jobs.records import ItemResult, NewJob, Receipt
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.submissions import SubmissionParser
from tests.support.fake_model_server import FakeModelServer
from tests.support.jobs import SECRET, FakePredictor, make_admission, make_items, make_limits, make_request

JOBS = "/api/v1/jobs"
ID = "0" * 32
UNKNOWN_PART = b'--x\r\nContent-Disposition: form-data; name="nope"\r\n\r\n\r\n--x--\r\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def make_jobs_app(make_app: Callable[..., Flask], folder: Path) -> Callable[..., Flask]:
    return lambda **overrides: make_app(**{"jobs": "sqlite", "jobs_dir": folder, "jobs_chunk_images": 2, **overrides})


@pytest.fixture
def jobs_client(make_jobs_app: Callable[..., Flask]) -> FlaskClient:
    return make_jobs_app().test_client()


class Queue(list[tuple[str, int]]):
    def wake(self, job_id: str, turn: int) -> None:
        self.append((job_id, turn))


def work(folder: Path, job_id: str, predictor: FakePredictor | None = None) -> None:
    """Compute a job."""
    store = SqliteStore(folder, make_limits())
    runner = ChunkRunner(store, predictor or FakePredictor(), make_admission(), ChunkLimits(60, 60))
    queue = Queue([(job_id, 0)])
    while queue:
        runner.run(*queue.pop(0), queue)
    store.close()


def pack(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def send_zip(client: FlaskClient, *entries: tuple[str, bytes], query: str = "", **headers: str) -> TestResponse:
    content = pack(*(entries or (("a.png", b"image"),)))
    return client.post(f"{JOBS}{query}", data=content, content_type="application/zip", headers=headers)


def problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    document = response.get_json()
    assert (response.status_code, document["type"]) == (status, f"/problems/{slug}"), document
    return document


def lines(response: TestResponse) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_an_archive_becomes_a_job(jobs_client: FlaskClient):
    response = send_zip(jobs_client, ("a.png", b"1"), ("b.png", b"2"), query="?model=pets&top_k=2")

    job = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"{JOBS}/{job['id']}"
    assert response.headers["Retry-After"]
    assert len(job["id"]) == 32
    assert {name: job[name] for name in ("status", "total", "answered", "failed", "model")} == {
        "status": "queued",
        "total": 2,
        "answered": 0,
        "failed": 0,
        "model": {"name": "pets"},
    }
    assert job["results"] == f"{JOBS}/{job['id']}/results"
    assert job["request_id"] == response.headers["X-Request-ID"]
    assert job["created"].endswith("Z")
    assert not job.keys() & {"started", "finished", "expires", "problem", "webhook"}


def test_a_job_is_computed_and_its_results_are_paged(jobs_client: FlaskClient, folder: Path):
    location = send_zip(jobs_client, *((f"{index}.png", b"image %d" % index) for index in range(5))).headers["Location"]
    work(folder, location.rpartition("/")[2])

    job = jobs_client.get(location)
    first = jobs_client.get(f"{location}/results?limit=3")
    second = jobs_client.get(first.headers["Link"].partition("<")[2].partition(">")[0])

    document = job.get_json()
    assert (document["status"], document["answered"], document["model"]) == ("done", 5, {"name": "pets", "version": 1})
    assert {"started", "finished", "expires"} <= document.keys()
    assert "Retry-After" not in job.headers
    assert first.headers["Link"].endswith('?offset=3&limit=3&format=jsonl>; rel="next"')
    assert "Link" not in second.headers
    assert first.content_type.startswith("application/x-ndjson")
    results = [*lines(first), *lines(second)]
    assert [(result["index"], result["name"], result["class"]) for result in results] == [
        (index, f"{index}.png", f"image {index}") for index in range(5)
    ]


def test_a_job_without_results_has_an_empty_page_that_leads_to_itself(jobs_client: FlaskClient):
    location = send_zip(jobs_client).headers["Location"]

    response = jobs_client.get(f"{location}/results")

    assert response.text == ""
    assert response.headers["Link"] == f'<{location}/results?offset=0&limit=1000&format=jsonl>; rel="next"'


def test_results_as_csv_have_one_header_and_no_formulas(jobs_client: FlaskClient, folder: Path):
    names = ("=cmd.png", "plain.png", "+1.png", "@x.png", "-x.png")
    location = send_zip(jobs_client, *((name, b"=1+1") for name in names)).headers["Location"]
    predictor = FakePredictor(outcome=lambda content: ImageUnreadableError("=damaged") if content == b"never" else None)
    work(folder, location.rpartition("/")[2], predictor)

    first = jobs_client.get(f"{location}/results?limit=2", headers={"Accept": "text/csv"})
    second = jobs_client.get(f"{location}/results?offset=2&format=csv")

    assert first.content_type == "text/csv; charset=utf-8"
    assert first.text.splitlines() == [
        "index,name,class,class_id,score,confident,problem,detail,classes",
        "0,'=cmd.png,'=1+1,0,1.0,,,,",
        "1,plain.png,'=1+1,0,1.0,,,,",
    ]
    assert [line.split(",")[1] for line in second.text.splitlines()] == ["'+1.png", "'@x.png", "'-x.png"]


def test_a_csv_that_is_followed_while_its_job_runs_has_one_header(jobs_client: FlaskClient, folder: Path):
    location = send_zip(jobs_client, ("a.png", b"cat")).headers["Location"]

    before = [jobs_client.get(f"{location}/results?format=csv") for _ in range(2)]
    work(folder, location.rpartition("/")[2])
    after = jobs_client.get(f"{location}/results?format=csv")
    beyond = jobs_client.get(f"{location}/results?format=csv&offset=1")

    assert [page.text for page in before] == ["", ""]
    assert [line.partition(",")[0] for line in after.text.splitlines()] == ["index", "0"]
    assert beyond.text == ""


def test_a_csv_without_results_of_a_job_that_is_over_has_a_header(jobs_client: FlaskClient):
    location = send_zip(jobs_client).headers["Location"]
    jobs_client.delete(location)

    assert jobs_client.get(f"{location}/results?format=csv").text.startswith("index,name")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("\n=1", "'\n'=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff201", "'\uff201"),
        ("a;=1", "a;'=1"),
        ("a;  -1", "a;'  -1"),
        ("a\t@x", "a\t'@x"),
        (" =1", "' =1"),
        ("a=b; c-d", "a=b; c-d"),
        ("cat 1e-05", "cat 1e-05"),
    ],
)
def test_no_cell_begins_a_formula_however_it_is_split(text: str, cell: str):
    page = documents.make_csv(
        [ItemResult(0, text, is_failed=True, document='{"type": "", "detail": ""}')], header=False
    )

    (row,) = csv.reader(io.StringIO(page, newline=""))
    assert row[1] == cell


def test_a_failed_image_is_a_line_of_its_own(jobs_client: FlaskClient, folder: Path):
    location = send_zip(jobs_client, ("a.png", b"good"), ("b.png", b"bad")).headers["Location"]
    outcome = {b"bad": ImageUnreadableError("The file is damaged.")}.get
    work(folder, location.rpartition("/")[2], FakePredictor(outcome=outcome))

    job = jobs_client.get(location).get_json()
    failed = lines(jobs_client.get(f"{location}/results"))[1]
    csv_line = jobs_client.get(f"{location}/results?format=csv&offset=1").text

    assert (job["status"], job["answered"], job["failed"]) == ("done", 1, 1)
    assert failed == {
        "kind": "problem",
        "index": 1,
        "name": "b.png",
        "type": "/problems/unreadable-image",
        "title": "The image cannot be decoded",
        "status": 422,
        "detail": "The file is damaged.",
    }
    assert csv_line == "1,b.png,,,,,/problems/unreadable-image,The file is damaged.,\r\n"


def test_a_list_of_urls_becomes_a_job(jobs_client: FlaskClient, folder: Path):
    urls = ["https://example.com/a.png", "https://example.com/" + "b" * 2000, "data:image/png;base64,AAAA"]

    location = jobs_client.post(JOBS, json={"urls": urls, "top_k": 1}).headers["Location"]
    work(folder, location.rpartition("/")[2])

    results = lines(jobs_client.get(f"{location}/results"))
    assert [result.get("name") for result in results] == [urls[0], urls[1][:1024], None]
    assert [result["class"] for result in results][:2] == urls[:2]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("QUJD" * 40, "'urls/0' is base64, not a URL: send it as `image` of one of `instances`."),
        ("QUJD" * 4000, "'urls/0' is base64, not a URL: send it as `image` of one of `instances`."),
        ("https://a.com/" + "x" * MAX_URL_BYTES, "which no URL is. Send an image as `image` of one of `instances`."),
        ("data:image/png;base64,?", "'urls/0' is not valid base64."),
        ("data:image/png;base64,", "'urls/0' contains no image"),
        ("", "The URL is empty."),
    ],
)
def test_what_is_not_a_url_in_a_list_says_where_it_belongs(jobs_client: FlaskClient, text: str, detail: str):
    job = jobs_client.post(JOBS, json={"urls": [text]}).get_json()

    (result,) = lines(jobs_client.get(job["results"]))

    assert detail in result["detail"]
    assert result["field"] == "/urls/0"


@pytest.mark.parametrize("name", ["urls", "instances"])
def test_an_empty_list_beside_images_counts_as_absent(jobs_client: FlaskClient, name: str):
    url = "https://example.com/a.png"
    lists: dict[str, list[object]] = {"urls": [url], "instances": [{"url": url}]}

    response = jobs_client.post(JOBS, json=lists | {name: []})

    assert response.get_json()["total"] == 1


def test_instances_become_a_job_and_bad_ones_its_problems(jobs_client: FlaskClient, folder: Path):
    instances = [{"url": "https://example.com/a.png"}, {"image": "aW1hZ2U="}, {"image": "?"}, {"other": 1}, 7]

    location = jobs_client.post(JOBS, json={"instances": instances}).headers["Location"]
    work(folder, location.rpartition("/")[2])

    job = jobs_client.get(location).get_json()
    results = lines(jobs_client.get(f"{location}/results"))
    assert (job["status"], job["answered"], job["failed"]) == ("done", 2, 3)
    assert [result.get("class") for result in results][:2] == ["https://example.com/a.png", "image"]
    assert [result["type"] for result in results[2:]] == ["/problems/bad-request"] * 3
    assert results[2]["field"] == "/instances/2/image"


def test_ten_thousand_urls_are_accepted(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(
        max_body_bytes=10_000_000, jobs_chunk_images=1024, fetch_threads_per_client=256
    ).test_client()
    urls = [f"https://images.example.com/{'folder/' * 10}{index}.jpg" for index in range(10_000)]

    response = client.post(JOBS, json={"urls": urls})

    assert response.get_json()["total"] == 10_000


def test_parts_of_a_form_become_a_job(jobs_client: FlaskClient, folder: Path):
    parts = {"image": [(io.BytesIO(b"one"), "1.png"), (io.BytesIO(b"two"), "2.png")], "top_k": "1", "model": "pets"}

    location = jobs_client.post(JOBS, data=parts).headers["Location"]
    work(folder, location.rpartition("/")[2])

    results = lines(jobs_client.get(f"{location}/results"))
    assert [(result["name"], result["class"]) for result in results] == [("1.png", "one"), ("2.png", "two")]


@pytest.mark.parametrize(
    "request_of_job",
    [
        {"data": {"image": (io.BytesIO(b"one"), "1.png"), "model": ["pets", "other"]}},
        {"json": {"urls": ["https://a.com"]}, "query_string": "model=pets&model=other"},
    ],
)
def test_of_a_repeated_option_of_a_form_or_query_the_first_counts(
    jobs_client: FlaskClient, request_of_job: dict[str, Any]
):
    response = jobs_client.post(JOBS, **request_of_job)

    assert response.get_json()["model"] == {"name": "pets"}


def test_parts_in_base64_are_decoded_as_those_of_predictions(jobs_client: FlaskClient, folder: Path):
    encoded = base64.b64encode(b"image").decode()
    parts = [
        ("name=image", encoded),
        ("name=image", f"data:image/png;base64,{encoded}"),
        ("name=file; filename=a.png\r\nContent-Transfer-Encoding: BASE64", encoded),
        ("name=image\r\nContent-Type: image/png", base64.b64encode(b"image" * 1000).decode()),
        ("name=image; filename=b.png\r\nContent-Transfer-Encoding: binary", "image"),
        ("name=model\r\nContent-Transfer-Encoding: base64", base64.b64encode(b"pets").decode()),
        ("name=image", "photo.png"),
        ("name=image; filename=c.png\r\nContent-Transfer-Encoding: base64", "?"),
        ("name=image; filename=d.png\r\nContent-Transfer-Encoding: base64", "="),
        ("name=image; filename=e.png\r\nContent-Transfer-Encoding: quoted-printable", "image"),
    ]
    body = "".join(f"--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n" for head, text in parts)

    response = jobs_client.post(JOBS, data=f"{body}--x--", content_type="multipart/form-data; boundary=x")
    location = response.headers["Location"]
    work(folder, location.rpartition("/")[2])

    results = lines(jobs_client.get(f"{location}/results"))
    assert [result.get("class") for result in results[:5]] == ["image", "image", "image", "image" * 1000, "image"]
    assert [result.get("name") for result in results] == [
        *(None, None, "a.png", None, "b.png"),
        *(None, "c.png", "d.png", "e.png"),
    ]
    details = [result["detail"] for result in results[5:]]
    for detail, reason in zip(details, ("not valid base64", "not valid base64", "is empty", "Accepted:"), strict=True):
        assert reason in detail


def test_an_archive_in_base64_is_refused(jobs_client: FlaskClient):
    head = "Content-Disposition: form-data; name=archive; filename=a.zip\r\nContent-Transfer-Encoding: base64"

    response = jobs_client.post(
        JOBS, data=f"--x\r\n{head}\r\n\r\nUEsD\r\n--x--", content_type="multipart/form-data; boundary=x"
    )

    assert problem(response, 400, "bad-request")["field"] == "archive"


def test_a_form_may_carry_an_archive(jobs_client: FlaskClient):
    parts = {"archive": (io.BytesIO(pack(("a.png", b"1"), ("b.png", b"2"))), "photos.zip"), "threshold": "0.5"}

    assert jobs_client.post(JOBS, data=parts).get_json()["total"] == 2


def test_an_empty_file_and_one_that_is_too_large_are_problems_of_their_own(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(max_body_bytes=1024).test_client()
    parts = {"file": [(io.BytesIO(b""), "empty.png"), (io.BytesIO(bytes(1025)), "large.png")]}

    location = client.post(JOBS, data=parts).headers["Location"]

    results = lines(client.get(f"{location}/results"))
    assert [result["type"] for result in results] == ["/problems/bad-request", "/problems/body-too-large"]
    assert client.get(location).get_json()["status"] == "done"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"urls": []}, "/urls"),
        ({"urls": "https://example.com"}, "/urls"),
        ({"urls": ["https://example.com"], "instances": [{}]}, "/instances"),
        ({"url": "https://example.com"}, "/url"),
        ({"urls": ["https://example.com"], "explain": True}, "/explain"),
        ({"urls": ["https://example.com"], "top_k": 0}, "/top_k"),
        ({"urls": ["https://example.com"], "version": "x"}, "/version"),
        ({"urls": ["https://example.com"], "version": -1}, "/version"),
        ({"urls": ["https://example.com"], "version": 1.5}, "/version"),
        ({"urls": ["https://example.com"], "version": 1, "label": "stable"}, "/label"),
        ({"urls": ["https://example.com"], "label": "\ud800"}, "/label"),
        ({"urls": ["https://example.com"], "model": "a\udfff"}, "/model"),
        ({"urls": ["https://a.com"], "webhook_url": "https://a.com/\ud800", "webhook_secret": SECRET}, "/webhook_url"),
        ({"urls": ["https://example.com"], "webhook_url": "https://example.com"}, None),
        ({"urls": ["https://example.com"], "webhook_url": "https://a.com", "webhook_secret": "x"}, "/webhook_secret"),
        ({"urls": ["https://example.com"], "webhook_url": 7, "webhook_secret": SECRET}, "/webhook_url"),
        ({"urls": ["https://a.com"], "webhook_url": "ftp://a.com", "webhook_secret": SECRET}, "/webhook_url"),
        ({"urls": ["https://a.com"], "webhook_url": "http://127.0.0.1", "webhook_secret": SECRET}, "/webhook_url"),
        ({"urls": ["https://a.com"], "webhook_url": "http://0x7f.1/", "webhook_secret": SECRET}, "/webhook_url"),
        ({"urls": ["https://a.com"], "webhook_url": "https://a.com:22", "webhook_secret": SECRET}, "/webhook_url"),
    ],
)
def test_requests_that_are_not_jobs_are_refused(jobs_client: FlaskClient, body: dict[str, Any], field: str | None):
    document = problem(jobs_client.post(JOBS, json=body), 400, "bad-request")

    assert document.get("field") == field
    assert SECRET not in document["detail"]


def test_a_secret_of_a_webhook_is_never_shown(jobs_client: FlaskClient):
    body = {"urls": ["https://a.com"], "webhook_url": "https://hooks.example.com/x", "webhook_secret": SECRET}

    response = jobs_client.post(JOBS, json=body)

    assert response.get_json()["webhook"] == {"url": "https://hooks.example.com/x", "status": "pending"}
    assert SECRET not in response.text


def test_a_gateway_that_does_not_fetch_sends_no_webhooks(make_jobs_app: Callable[..., Flask]):
    body = {"urls": ["https://a.com"], "webhook_url": "https://hooks.example.com/x", "webhook_secret": SECRET}

    problem(make_jobs_app(fetch_enabled=False).test_client().post(JOBS, json=body), 400, "bad-request")


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        ("text/plain", b"x", (415, "unsupported-media-type")),
        ("image/png", b"x", (415, "unsupported-media-type")),
        ("application/octet-stream", b"x", (415, "unsupported-media-type")),
        ("application/x-www-form-urlencoded", b"a=b", (415, "unsupported-media-type")),
        ("application/zip", b"x", (422, "unusable-archive")),
        ("application/zip", b"", (422, "unusable-archive")),
        ("application/zip", pack(), (400, "bad-request")),
        ("application/zip", pack(("/etc/passwd", b"x")), (422, "unusable-archive")),
        ("application/json", b"{", (400, "bad-request")),
        ("multipart/form-data; boundary=x", b"--x--", (400, "bad-request")),
        ("multipart/form-data", b"--x--", (400, "bad-request")),
        ("multipart/form-data; boundary=x", UNKNOWN_PART, (400, "bad-request")),
    ],
)
def test_bodies_that_are_not_jobs_are_refused_and_nothing_is_kept(
    jobs_client: FlaskClient, folder: Path, content_type: str, content: bytes, expected: tuple[int, str]
):
    problem(jobs_client.post(JOBS, data=content, content_type=content_type), *expected)

    totals = SqliteStore(folder, make_limits()).totals()
    assert (totals["unfinished"], totals["chunks"], totals["bytes"]) == (0, 0, 0)


def test_an_archive_as_unknown_bytes_is_recognised(jobs_client: FlaskClient):
    assert (
        jobs_client.post(JOBS, data=pack(("a.png", b"1")), content_type="application/octet-stream").status_code == 202
    )


def test_bodies_and_images_are_limited(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(jobs_max_bytes=2000, jobs_max_images=2).test_client()
    three = [(f"{index}.png", b"x") for index in range(3)]

    large = problem(send_zip(client, ("a.png", bytes(3000))), 413, "body-too-large")
    problem(send_zip(client, *three), 413, "too-many-images")
    problem(client.post(JOBS, json={"urls": ["https://a.com"] * 3}), 413, "too-many-images")

    assert large["max_bytes"] == 2000


@pytest.mark.parametrize("version", [1, 1.0, "1"])
def test_a_version_is_a_whole_number_however_it_is_written(jobs_client: FlaskClient, version: object):
    response = jobs_client.post(JOBS, json={"urls": ["https://example.com"], "version": version})

    assert response.get_json()["model"] == {"version": 1}


@pytest.mark.parametrize("version", [0, 2**63, 10**300])
def test_a_version_that_is_not_served_is_not_found(jobs_client: FlaskClient, version: int):
    problem(jobs_client.post(JOBS, json={"urls": ["https://a.com"], "version": version}), 404, "version-not-found")


def test_models_that_are_not_served_are_refused(jobs_client: FlaskClient):
    problem(send_zip(jobs_client, query="?model=nope"), 404, "model-not-found")
    problem(send_zip(jobs_client, query="?version=7"), 404, "version-not-found")
    problem(send_zip(jobs_client, query="?label=nope"), 404, "version-not-found")


def test_a_job_is_accepted_while_the_model_server_is_away(jobs_client: FlaskClient, server: FakeModelServer):
    server.away = True

    assert send_zip(jobs_client).status_code == 202


def test_a_repeated_request_finds_its_job(jobs_client: FlaskClient):
    headers = {"Idempotency-Key": "k-1"}
    first = send_zip(jobs_client, ("a.png", b"1"), **headers)
    again = send_zip(jobs_client, ("a.png", b"1"), **headers)
    other = send_zip(jobs_client, ("a.png", b"2"), **headers)
    other_options = send_zip(jobs_client, ("a.png", b"1"), query="?top_k=1", **headers)

    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    problem(other, 422, "idempotency-key-reused")
    problem(other_options, 422, "idempotency-key-reused")


def test_a_repeated_request_needs_no_room_and_counts_no_images(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(jobs_max_stored_bytes=20_000, rate_limit="6/minute").test_client()
    headers = {"Idempotency-Key": "k-1"}
    files = [(f"{index}.png", bytes(2000)) for index in range(3)]
    first = send_zip(client, *files, **headers)

    repeated = [send_zip(client, *files, **headers) for _ in range(2)]

    assert [(each.status_code, each.get_json()["id"]) for each in repeated] == [(202, first.get_json()["id"])] * 2
    assert client.get(first.headers["Location"]).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_an_idempotency_key_has_a_form(jobs_client: FlaskClient, key: str):
    problem(send_zip(jobs_client, **{"Idempotency-Key": key}), 400, "bad-request")


def test_a_job_is_cancelled_and_stays(jobs_client: FlaskClient, folder: Path):
    location = send_zip(jobs_client, ("a.png", b"1")).headers["Location"]

    cancelled = jobs_client.delete(location)
    again = jobs_client.delete(location)
    work(folder, location.rpartition("/")[2])

    assert cancelled.get_json()["status"] == "cancelled"
    assert again.get_json() == cancelled.get_json()
    assert jobs_client.get(location).get_json()["answered"] == 0
    response = jobs_client.get(f"{location}/results")
    assert (response.text, "Link" in response.headers) == ("", False)


@pytest.mark.parametrize("job_id", [ID, "x", "../etc", "%00", "A" * 32])
def test_a_job_that_does_not_exist_is_not_found(jobs_client: FlaskClient, job_id: str):
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/results"):
        assert jobs_client.get(path).status_code == 404
    assert jobs_client.delete(f"{JOBS}/{job_id}").status_code == 404


def test_the_job_of_another_key_is_not_found_like_any_other(make_jobs_app: Callable[..., Flask], folder: Path):
    app = make_jobs_app()
    store = SqliteStore(folder, make_limits())
    store.stage(NewJob(ID, "other", "key:other", make_request()))
    store.add_items(ID, 0, make_items(1))
    store.publish(ID, Receipt(None, "f"))
    client = app.test_client()

    answers = [client.get(f"{JOBS}/{job_id}") for job_id in (ID, "1" * 32)]
    deleted = client.delete(f"{JOBS}/{ID}")

    texts = [{**answer.get_json(), "detail": "", "request_id": ""} for answer in answers]
    assert texts[0] == texts[1]
    problem(answers[0], 404, "job-not-found")
    problem(deleted, 404, "job-not-found")
    problem(client.get(f"{JOBS}/{ID}/results"), 404, "job-not-found")
    job = store.find(ID)
    assert job is not None
    assert job.status == "queued"


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=10001", "format=xml", "page=2"])
def test_parameters_of_pages_are_checked(jobs_client: FlaskClient, query: str):
    location = send_zip(jobs_client).headers["Location"]

    problem(jobs_client.get(f"{location}/results?{query}"), 400, "bad-request")


def test_jobs_are_not_listed(jobs_client: FlaskClient):
    response = jobs_client.get(JOBS)

    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_unfinished_jobs_and_space_are_limited(make_jobs_app: Callable[..., Flask]):
    problem_of_many = send_zip(client := make_jobs_app(jobs_max_unfinished=1).test_client(), ("a.png", b"1"))
    assert problem_of_many.status_code == 202
    many = send_zip(client, ("a.png", b"2"))
    problem(many, 429, "too-many-jobs")
    assert many.headers["Retry-After"]

    full = send_zip(make_jobs_app(jobs_max_stored_bytes=1024).test_client(), ("a.png", bytes(2000)))
    problem(full, 507, "jobs-full")


class UnreadBody(io.RawIOBase):
    """A body that nobody may read."""

    def read(self, _: int = -1) -> bytes:
        raise AssertionError


def test_a_job_without_room_is_refused_before_its_body_is_read(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(jobs_max_unfinished=1).test_client()
    first = send_zip(client, **{"Idempotency-Key": "first"})

    def send(**headers: str) -> TestResponse:
        unread = {"wsgi.input": UnreadBody()}
        return client.post(
            JOBS, content_type="application/zip", headers=headers, content_length=1000, environ_overrides=unread
        )

    problem(send(), 429, "too-many-jobs")
    problem(send(**{"Idempotency-Key": "other"}), 429, "too-many-jobs")
    again = send_zip(client, **{"Idempotency-Key": "first"})
    assert again.headers["Location"] == first.headers["Location"]


def test_images_beyond_the_rate_limit_are_never_stored(
    make_jobs_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
):
    client = make_jobs_app(rate_limit="2/minute").test_client()
    monkeypatch.delattr(SqliteStore, "stage")

    problem(send_zip(client, *((f"{index}.png", b"x") for index in range(3))), 413, "too-many-images")


def test_images_of_a_job_count_towards_the_rate_limit(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(rate_limit="4/minute").test_client()
    three = [(f"{index}.png", b"x") for index in range(3)]

    assert send_zip(client, *three).status_code == 202
    problem(send_zip(client, *three), 429, "rate-limited")
    problem(send_zip(make_jobs_app(rate_limit="2/minute").test_client(), *three), 413, "too-many-images")


def test_below_a_path_every_link_has_it(make_jobs_app: Callable[..., Flask]):
    client = make_jobs_app(root_path="/gw").test_client()

    response = send_zip(client)
    location = client.get(f"/gw{JOBS}/{ID}")
    below = client.post(f"/gw{JOBS}", data=pack(("a.png", b"1")), content_type="application/zip")

    assert response.headers["Location"].startswith("/gw/api/v1/jobs/")  # a proxy in front removed it
    assert below.headers["Location"].startswith("/gw/api/v1/jobs/")
    assert below.get_json()["results"].startswith("/gw/api/v1/jobs/")
    assert location.status_code == 404


@pytest.mark.parametrize(
    "prefer",
    [
        *("respond-async", "wait=3, Respond-Async", "respond-async; foo=bar", 'respond-async=""', "respond-async ; a"),
        *('foo="a, b", respond-async', 'respond-async;a="b, c", wait=1', 'foo="\\", respond-async", respond-async'),
    ],
)
def test_a_prediction_that_is_preferred_later_is_a_job(make_jobs_app: Callable[..., Flask], png: bytes, prefer: str):
    app = make_jobs_app()
    app.test_client_class = FlaskClient  # the document of a gateway without jobs does not have this response
    path, headers = "/api/v1/models/pets/predict?top_k=1", {"Prefer": prefer}

    response = app.test_client().post(path, data=png, content_type="image/png", headers=headers)

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.get_json()["model"] == {"name": "pets"}


def test_a_prediction_that_is_preferred_later_keeps_the_names_of_files(
    make_jobs_app: Callable[..., Flask], folder: Path
):
    app = make_jobs_app()
    app.test_client_class = FlaskClient  # see above
    client = app.test_client()
    files = {"image": [(io.BytesIO(content), name) for content, name in ((b"1", "x.png"), (b"", "é.png"))]}
    instances = {"instances": [{"image": "aW1hZ2U="}, {"url": "https://a.com/z.png"}]}

    locations = [
        client.post("/api/v1/predict", headers={"Prefer": "respond-async"}, **body).headers["Location"]
        for body in ({"data": files}, {"data": {"file": (io.BytesIO(b"1"), "one.png")}}, {"json": instances})
    ]
    for location in locations:
        work(folder, location.rpartition("/")[2])

    results = [lines(client.get(f"{location}/results")) for location in locations]
    assert [[result.get("name") for result in page] for page in results] == [
        ["x.png", "é.png"],
        ["one.png"],
        [None, "https://a.com/z.png"],
    ]


@pytest.mark.parametrize(
    "prefer",
    [
        *("wait=3", "respond-asynchronously", "", "respond-async=false", '"respond-async"', "wait=3; respond-async"),
        *('foo="a, respond-async, b"', 'foo="a\\", respond-async"', 'wait=1; foo="a, respond-async"'),
    ],
)
def test_other_preferences_change_nothing(jobs_client: FlaskClient, png: bytes, prefer: str):
    response = jobs_client.post("/api/v1/predict", data=png, content_type="image/png", headers={"Prefer": prefer})

    assert response.status_code == 200


def test_a_preference_for_a_job_is_ignored_without_jobs(client: FlaskClient, png: bytes):
    response = client.post("/api/v1/predict", data=png, content_type="image/png", headers={"Prefer": "respond-async"})

    assert (response.status_code, "Preference-Applied" in response.headers) == (200, False)


def test_without_jobs_the_routes_say_how_to_switch_them_on(client: FlaskClient):
    for path in (JOBS, f"{JOBS}/{ID}"):
        document = problem(client.get(path), 404, "not-found")
        assert "GATEWAY_JOBS" in document["detail"]


def test_the_metrics_show_the_jobs(jobs_client: FlaskClient, folder: Path):
    location = send_zip(jobs_client, ("a.png", b"1"), ("b.png", b"2")).headers["Location"]
    send_zip(jobs_client, ("a.png", b"1"))
    work(folder, location.rpartition("/")[2])

    page = jobs_client.get("/metrics").text

    assert "gateway_jobs_created_total 2.0" in page
    assert 'gateway_jobs_finished_total{status="done"} 1.0' in page
    assert 'gateway_job_images_total{outcome="answered"} 2.0' in page
    assert "gateway_jobs_chunks 1.0" in page


class SilentConnection:
    """Both a body and its connection, which sends nothing."""

    read_by_s = max_silence_s = 0.0

    def read(self, _: int) -> bytes:
        assert self.read_by_s < time.monotonic() + 60
        raise TimeoutError


@pytest.mark.parametrize("content_type", ["application/zip", "application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/json"])
def test_whatever_a_body_is_a_slow_sender_is_given_up(jobs_client: FlaskClient, content_type: str, path: str):
    connection = SilentConnection()
    environ = {"wsgi.input": connection, "gunicorn.socket": connection}

    response = jobs_client.post(path, content_type=content_type, content_length=100_000, environ_overrides=environ)

    assert "16 kB per second" in problem(response, 408, "body-timeout")["detail"]


@pytest.mark.parametrize(("header", "expected_s"), [(None, 123.0), ("60", 60.0), ("999", 123.0)])
def test_an_upload_has_a_deadline_of_its_own(
    make_jobs_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, header: str | None, expected_s: float
):
    seen = []

    def open_submission(*_: object, deadline: Deadline, **__: object) -> None:
        seen.append(deadline.allowed_s)
        raise BadRequestError("seen")

    monkeypatch.setattr(SubmissionParser, "open", open_submission)

    headers = {"X-Request-Timeout": header} if header else {}
    make_jobs_app(jobs_upload_deadline_s=123.0).test_client().post(JOBS, data=b"", headers=headers)

    assert seen == [expected_s]
