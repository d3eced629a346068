"""What a gateway worker is made of."""

import re
from pathlib import Path

from tests.support.stack import children, command_line


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


def test_a_worker_is_small(stack):
    for worker in gateway_workers(stack):
        resident_kib = int(Path(f"/proc/{worker}/status").read_text(encoding="ascii").split("VmRSS:")[1].split()[0])
        assert resident_kib < 120 * 1024
