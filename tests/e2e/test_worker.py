"""What a gateway worker is made of."""

import re
from pathlib import Path

import requests

from tests.support.stack import ROOT, children, command_line, running

GOLDEN = ROOT / "serving_models" / "digits" / "1" / "assets.extra" / "golden"


def gateway_workers(stack):
    masters = [pid for pid in children(stack.process.pid) if "gunicorn" in command_line(pid)]
    return [pid for pid in masters if not children(pid)]


def test_no_worker_has_loaded_tensorflow(stack):
    workers = gateway_workers(stack)
    assert workers
    for worker in workers:
        libraries = Path(f"/proc/{worker}/maps").read_text(encoding="utf-8")
        assert "cv2" in libraries  # it is a worker that has started, and this is where libraries show
        assert not re.search(r"tensorflow|keras|libtorch", libraries)


def test_a_worker_that_has_started_is_small(tmp_path):
    with running(tmp_path / "run") as fresh:
        picture = next(GOLDEN.glob("*.png")).read_bytes()
        for _ in range(50):
            requests.post(fresh.predict_url, data=picture, headers={"Content-Type": "image/png"}, timeout=30)
        workers = gateway_workers(fresh)
        assert workers
        for worker in workers:
            assert resident_bytes(worker) < 100e6


def test_a_worker_that_has_met_all_kinds_of_pictures_keeps_little_of_them(stack):
    kept_bytes = 2 * 8 * 2**20
    for worker in gateway_workers(stack):
        assert resident_bytes(worker) < 110e6 + kept_bytes


def resident_bytes(pid):
    told = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(told.split("VmRSS:")[1].split()[0]) * 1024
