"""Measurements that are not repeated in rounds: several model servers, a version swap under load, a worker's start."""

import threading
import time
from collections.abc import Mapping

from bench import images, latency_server
from bench.external_load import HttpRequest, run_wrk
from bench.served_models import add_version, first_golden
from bench.services import PYTHON, make_program
from bench.testbed import Testbed
from tools import ports
from tools.processes import descendants, resident_bytes

SERVERS = (1, 2, 3, 4)
SERVERS_S = 8.0  # with one server, a request among 256 in flight takes more than 3 s
IN_FLIGHT = 256
SWAP_LOAD_S = 5
SWAP_AFTER_S = 1.5
MEGABYTE = 1e6


def measure_servers(testbed: Testbed, seconds: float) -> Mapping[int, float]:
    """Return the share (0 to 1) of the capacity of 1 to 4 slow model servers that two gateway workers use."""
    folder = testbed.folder / "latency"
    folder.mkdir(exist_ok=True)
    config = f'model_config_list {{ config {{ name: "{latency_server.MODEL}" base_path: "/none" }} }}\n'
    (folder / "models.config").write_text(config, encoding="utf-8")
    settings = {
        "GATEWAY_DEFAULT_MODEL": latency_server.MODEL,
        "GATEWAY_MODELS_CONFIG": str(folder / "models.config"),
        "GATEWAY_CARDS_DIR": str(folder),
        # One worker may get most of the connections.
        "GATEWAY_THREADS": str(IN_FLIGHT),
        "GATEWAY_MAX_WAITING": str(IN_FLIGHT),
    }
    server_ports = ports.find(len(SERVERS))
    for port in server_ports:
        testbed.stack.start(make_program(f"latency-{port}", (*PYTHON, "bench.latency_server", str(port))))
    share = {}
    for number in SERVERS:
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in server_ports[:number])
        with testbed.run_gateway(target=target, settings=settings, workers=2) as gateway:
            url = f"{gateway.address}/api/v1/predict"
            request = HttpRequest(url, "image/png", images.golden("digits"), ['"predictions":[{"class":"9"'])
            load = run_wrk(request, testbed.folder, connections=IN_FLIGHT, seconds=max(seconds, SERVERS_S))
        share[number] = load.requests / load.wall_s / (number * latency_server.CAPACITY_PER_S)
    for port in server_ports:
        testbed.stack.stop(f"latency-{port}")
    return share


def measure_swap(testbed: Testbed) -> Mapping[str, float]:
    """Publish a version under the load of 8 connections, and compare the latency with that of a load without a swap.

    Raises:
        WrongAnswerError: A request failed.
    """
    image, label = first_golden(testbed.ours.models, "digits")
    expected = [f'"predictions":[{{"class":"{label}"']
    url = f"{testbed.ours.nginx.address}/api/v1/models/digits/predict"
    request = HttpRequest(url, "image/png", image, expected)
    steady = run_wrk(request, testbed.folder, connections=8, seconds=SWAP_LOAD_S)
    timer = threading.Timer(SWAP_AFTER_S, add_version, (testbed.ours.models, "digits"))
    timer.start()
    swap = run_wrk(request, testbed.folder, connections=8, seconds=SWAP_LOAD_S)
    timer.join()
    return {"steady_p99_ms": steady.p99_ms or 0.0, "swap_p99_ms": swap.p99_ms or 0.0, "requests": swap.requests}


def measure_start(testbed: Testbed) -> Mapping[str, float]:
    """Return the seconds from the start of a gateway of one worker to its first 200, and the worker's memory."""
    started_s = time.monotonic()
    with testbed.run_gateway() as gateway:
        ready_s = time.monotonic() - started_s
        url = f"{gateway.address}/api/v1/predict"
        request = HttpRequest(url, "image/png", images.golden("digits"), ['"predictions"'])
        run_wrk(request, testbed.folder, connections=8, seconds=1)
        worker_bytes = max(map(resident_bytes, descendants(gateway.pid)))
    return {"ready_s": ready_s, "worker_mb": worker_bytes / MEGABYTE}
