"""What does not repeat in rounds: several model servers, a swap of versions under load, the start of a worker."""

import contextlib
import sys
import threading
import time
from collections.abc import Mapping

from bench import latency_server, pictures
from bench.clients import Question, ask
from bench.measure import golden_label
from bench.services import running
from bench.stage import Stage, add_version, gateway_on
from tools import ports

SERVERS = (1, 2, 3, 4)
SERVERS_S = 8.0  # with one server, a request of 256 in flight takes more than 3 s
IN_FLIGHT = 256
SWAP_LOAD_S = 5
SWAP_AFTER_S = 1.5
MEGABYTE = 1e6


def servers(stage: Stage, seconds: float) -> Mapping[int, float]:
    """Return the share of the capacity of 1 to 4 model servers of fixed latency that two workers make use of."""
    models = stage.folder / "latency"
    models.mkdir(exist_ok=True)
    (models / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{latency_server.MODEL}" base_path: "/none" }} }}\n', encoding="utf-8"
    )
    picture = pictures.golden("digits")
    expected = ['"predictions":[{"class":"9"']
    share = {}
    with contextlib.ExitStack() as held:
        found = ports.find(len(SERVERS))
        for port in found:
            command = (sys.executable, "-m", "bench.latency_server", str(port))
            held.enter_context(running("latency", command, stage.folder / "latency.log"))
        for number in SERVERS:
            target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in found[:number])
            settings = {
                "GATEWAY_DEFAULT_MODEL": latency_server.MODEL,
                "GATEWAY_CARDS_DIR": str(models),
                # One worker may get most of the connections.
                "GATEWAY_THREADS": str(IN_FLIGHT),
                "GATEWAY_MAX_WAITING": str(IN_FLIGHT),
            }
            with gateway_on(stage.folder, target, models, workers=2, settings=settings) as (_, url):
                question = Question(f"{url}/api/v1/predict", "image/png", picture, expected)
                load = ask(question, stage.folder, connections=IN_FLIGHT, seconds=max(seconds, SERVERS_S))
            share[number] = load.requests / load.wall_s / (number * latency_server.CAPACITY_PER_S)
    return share


def swap(stage: Stage) -> Mapping[str, float]:
    """Publish a version while 8 connections ask, and compare the slowest with those of a steady time before.

    Raises:
        WrongAnswerError: a request failed.
    """
    picture = pictures.golden("digits")
    expected = [f'"predictions":[{{"class":"{golden_label(stage.models, "digits")}"']
    question = Question(f"{stage.url}/api/v1/models/digits/predict", "image/png", picture, expected)
    steady = ask(question, stage.folder, connections=8, seconds=SWAP_LOAD_S)
    timer = threading.Timer(SWAP_AFTER_S, add_version, (stage.models, "digits"))
    timer.start()
    swapped = ask(question, stage.folder, connections=8, seconds=SWAP_LOAD_S)
    timer.join()
    return {"steady_p99_ms": steady.p99_ms or 0.0, "swap_p99_ms": swapped.p99_ms or 0.0, "requests": swapped.requests}


def start(stage: Stage) -> Mapping[str, float]:
    """Return the seconds from the start of a gateway of one worker to its first 200, and the worker's memory."""
    started_s = time.monotonic()
    with gateway_on(stage.folder, stage.grpc, stage.models, workers=1) as (service, url):
        ready_s = time.monotonic() - started_s
        question = Question(f"{url}/api/v1/predict", "image/png", pictures.golden("digits"), ['"predictions"'])
        ask(question, stage.folder, connections=8, seconds=1)
        worker_bytes = max(size for pid, size in service.rss_bytes().items() if pid != service.pid)
    return {"ready_s": ready_s, "worker_mb": worker_bytes / MEGABYTE}
