"""A log that cannot be written, and metrics that were removed, fail no request, and new workers start."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.waiting import until

TIMEOUT_S = 20
FORGED = 'a message\n{"event": "forged"}\n\x1b[31mred'


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def assert_requests_are_answered(gateway: LightGateway) -> None:
    assert [gateway.get("/livez")[0] for _ in range(20)] == [200] * 20
    assert gateway.send(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n")[0].status == 400  # gunicorn's own logger
    assert gateway.get("/version")[0] == 200  # a line of the application


def test_a_full_disk_below_the_log_costs_only_lines(tmp_path: Path):
    with Path("/dev/full").open("wb") as full, light_gateway(tmp_path, full, {"GATEWAY_LOG_LEVEL": "debug"}) as gateway:
        assert_requests_are_answered(gateway)
        gateway.replace_worker(signal.SIGKILL)
        assert_requests_are_answered(gateway)


def test_a_log_that_nobody_reads_costs_only_lines(tmp_path: Path):
    reading_end, writing_end = os.pipe()
    os.set_blocking(writing_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing_end, bytes(4096))
    os.read(reading_end, 4096)  # space for gunicorn's first line
    os.set_blocking(writing_end, True)
    try:
        with light_gateway(tmp_path, writing_end, {"GATEWAY_LOG_LEVEL": "debug"}) as gateway:
            assert_requests_are_answered(gateway)
            gateway.replace_worker(signal.SIGKILL)
            assert_requests_are_answered(gateway)
    finally:
        os.close(reading_end)
        os.close(writing_end)


@pytest.mark.parametrize("fd", [1, 2])
def test_what_a_library_prints_is_one_field_of_one_line(gateway: LightGateway, log: Path, fd: int):
    (worker,) = gateway.workers
    text = f"{FORGED} {fd}\n"
    Path(f"/proc/{worker}/fd/{fd}").write_text(text, encoding="utf-8")
    until(lambda: any(text in str(line.get("text")) for line in lines(log)), TIMEOUT_S)

    assert not any(line["event"] == "forged" for line in lines(log))
    assert {line["logger"] for line in lines(log) if FORGED in str(line.get("text"))} == {"stderr"}


def test_a_library_that_prints_megabytes_is_not_waited_for(gateway: LightGateway, log: Path):
    (worker,) = gateway.workers
    descriptor = os.open(f"/proc/{worker}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    for _ in range(10_000):
        try:
            os.write(descriptor, b"x" * 1000)
        except BlockingIOError:
            continue
    os.close(descriptor)

    assert gateway.answers()
    until(lambda: any(line["event"] == "stderr" for line in lines(log)), TIMEOUT_S)
    assert log.stat().st_size < 1_000_000


def test_the_last_words_of_a_worker_reach_the_log(gateway: LightGateway, log: Path):
    (worker,) = gateway.workers
    Path(f"/proc/{worker}/fd/2").write_text("Fatal Python error\n", encoding="utf-8")
    gateway.replace_worker(signal.SIGSEGV)

    until(lambda: any("Fatal" in str(line.get("text")) for line in lines(log)), TIMEOUT_S)


def test_metrics_that_were_removed_are_a_problem_until_a_new_worker_counts(gateway: LightGateway):
    shutil.rmtree(gateway.metrics_dir, ignore_errors=True)

    assert_requests_are_answered(gateway)
    status, body = gateway.get("/metrics")
    assert (status, json.loads(body)["type"]) == (503, "/problems/metrics-unavailable")

    gateway.replace_worker(signal.SIGKILL)

    assert_requests_are_answered(gateway)
    assert gateway.get("/metrics")[0] == 200


def test_a_worker_without_space_for_metrics_answers(gateway: LightGateway):
    shutil.rmtree(gateway.metrics_dir, ignore_errors=True)
    gateway.metrics_dir.symlink_to("/proc")  # where no file can be made
    try:
        gateway.replace_worker(signal.SIGKILL)

        assert_requests_are_answered(gateway)
        assert gateway.get("/metrics")[0] == 503
    finally:
        gateway.metrics_dir.unlink()
