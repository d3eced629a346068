"""Inject faults into a running stack while users send requests, and count how their requests end.

`bench.reliability` prints the counts; tests/e2e/test_fault_drills.py compares them with what each drill may cost.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

from bench import faulty_proxy
from bench.classification_load import UNANSWERED, ClassificationLoad
from bench.drill_stack import CONFIG, MODEL, DrillStack
from tools.local_stack import START_S, model_server_name
from tools.waiting import wait_until

UNAVAILABLE = "503 model-unavailable"
LATE = "504 deadline-exceeded"
OVERLOADED = "503 overloaded"
FAILED = "502 model-failed"
MAIN = model_server_name(0)


@dataclass(frozen=True, slots=True)
class Drill:
    """One fault.

    Attributes:
        name: What happens.
        inject: Causes the fault, waits for the given seconds if its duration matters, and repairs the stack.
        seconds: Duration of the fault in the report.
        costs: Outcomes other than correct answers that requests may have meanwhile; wrong answers never.
        path: Path that the users post to.
    """

    name: str
    inject: Callable[[DrillStack, ClassificationLoad, float], None]
    seconds: float = 0
    costs: frozenset[str] = frozenset()
    path: str = "/api/v1/predict"


def run(drill: Drill, stack: DrillStack, *, seconds: float, users: int = 8) -> ClassificationLoad:
    """Inject a fault under load; the load lasts until requests succeed again."""
    with ClassificationLoad(stack.url + drill.path, stack.golden, users=users) as load:
        load.await_successes(50)
        drill.inject(stack, load, seconds)
        load.await_successes(50)
    return load


def _kill_model_server(stack: DrillStack, _: ClassificationLoad, seconds: float) -> None:
    stack.end(MAIN, signal.SIGKILL)
    time.sleep(seconds)
    _restart_model_server(stack)


def _terminate_model_server(stack: DrillStack, _: ClassificationLoad, __: float) -> None:
    stack.end(MAIN, signal.SIGTERM)
    _restart_model_server(stack)


def _freeze_model_server(stack: DrillStack, _: ClassificationLoad, seconds: float) -> None:
    stack.send_signal(MAIN, signal.SIGSTOP)
    time.sleep(seconds)
    stack.send_signal(MAIN, signal.SIGCONT)


def _send_random_bytes(stack: DrillStack, _: ClassificationLoad, seconds: float) -> None:
    stack.end(MAIN, signal.SIGKILL)
    with faulty_proxy.sending_random_bytes(stack.servers[0].grpc_port):
        time.sleep(seconds)
    _restart_model_server(stack)


def _randomize_answers(stack: DrillStack, _: ClassificationLoad, seconds: float) -> None:
    _change_answers(stack, faulty_proxy.randomize, seconds)


def _delay_answers(stack: DrillStack, _: ClassificationLoad, seconds: float) -> None:
    _change_answers(stack, faulty_proxy.delay(0.5), seconds)


def _change_answers(stack: DrillStack, change: faulty_proxy.Change, seconds: float) -> None:
    stack.start_model_server(stack.spare)
    wait_until(lambda: stack.serves(stack.spare), START_S, "the spare model server serves")
    stack.end(MAIN, signal.SIGKILL)
    ports = stack.servers[0].grpc_port, stack.servers[stack.spare].grpc_port
    with faulty_proxy.changing_answers(*ports, change):
        time.sleep(seconds)
    stack.end(model_server_name(stack.spare), signal.SIGKILL)
    _restart_model_server(stack)


def _fill_disk(stack: DrillStack, load: ClassificationLoad, seconds: float) -> None:
    stack.end(MAIN, signal.SIGTERM)
    stack.start_model_server(log=Path("/dev/full"))  # every write to it fails as on a full disk
    wait_until(stack.serves, START_S, "the model server serves again")
    load.await_successes(200)
    time.sleep(seconds)


def _publish_truncated_version(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    version = stack.base / "9"
    copy = stack.models / "copy"
    shutil.copytree(stack.base / "1", copy)
    for name in ("saved_model.pb", "model.tflite"):
        os.truncate(copy / name, (copy / name).stat().st_size // 2)
    copy.rename(version)
    wait_until(lambda: _failure_reason(stack, 9), START_S, "the API reports why the version is not served")
    load.await_successes(200)
    if not stack.is_ready():
        raise AssertionError("/readyz does not answer 200 because of a broken version beside a good one")
    shutil.rmtree(version)


def _failure_reason(stack: DrillStack, version: int) -> str:
    """Return the gateway's reason why a version is not served; empty if it reports none."""
    details = requests.get(f"{stack.url}/api/v1/models/{MODEL}", timeout=START_S).json()
    return next((str(item.get("reason", "")) for item in details["versions"] if item["version"] == version), "")


def _kill_each_worker(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    for worker in stack.workers():
        os.kill(worker, signal.SIGKILL)
        wait_until(partial(_is_replaced, stack, worker), START_S, "the killed worker is replaced")
        load.await_successes(100)


def _is_replaced(stack: DrillStack, worker: int) -> bool:
    workers = stack.workers()
    return worker not in workers and len(workers) > 1


def _reload_gateway(stack: DrillStack, _: ClassificationLoad, __: float) -> None:
    before = set(stack.workers())
    stack.send_signal("gateway", signal.SIGHUP)
    wait_until(lambda: before.isdisjoint(stack.workers()), START_S, "every worker is replaced")


def _reload_nginx(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    for _ in range(3):
        stack.send_signal("nginx", signal.SIGHUP)
        load.await_successes(100)


def _publish_version(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    shutil.copytree(stack.base / "1", stack.models / "copy")
    (stack.models / "copy").rename(stack.base / "2")
    load.await_version(2)


def _delete_version(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    shutil.rmtree(stack.base / "2")
    load.await_version(1)


def _move_label_and_back(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    for version in (2, 1):
        _move_label(stack, version)
        load.await_version(version)


def _drain_gateway(stack: DrillStack, load: ClassificationLoad, _: float) -> None:
    stack.send_signal("gateway", signal.SIGTERM)
    wait_until(lambda: not stack.is_ready(), START_S, "/readyz no longer answers 200")
    load.await_successes(50)
    load.pause()  # as a load balancer does
    stack.end("gateway", signal.SIGCONT)  # the gateway exits by itself; the signal changes nothing
    stack.start_gateway()
    wait_until(stack.is_ready, START_S, "the gateway is ready again")
    load.resume()


def _kill_one_of_three(stack: DrillStack, load: ClassificationLoad, seconds: float) -> None:
    stack.end(model_server_name(1), signal.SIGKILL)
    time.sleep(seconds)
    load.await_successes(200)
    stack.start_model_server(1)
    wait_until(lambda: stack.serves(1), START_S, "the restarted model server serves")
    _await_predictions_of_the_second(stack)


def _freeze_one_of_three(stack: DrillStack, load: ClassificationLoad, seconds: float) -> None:
    stack.send_signal(model_server_name(1), signal.SIGSTOP)
    time.sleep(seconds)
    load.await_successes(200)
    stack.send_signal(model_server_name(1), signal.SIGCONT)
    _await_predictions_of_the_second(stack)


def _await_predictions_of_the_second(stack: DrillStack) -> None:
    before = stack.calls(1)
    wait_until(lambda: stack.calls(1) > before + 20, START_S, "the gateway uses the second model server again")


def _move_label(stack: DrillStack, version: int) -> None:
    """Point the label `stable` to a version in models.config, which the model server polls."""
    config = CONFIG.format(name=MODEL, base=stack.base).replace("value: 1", f"value: {version}")
    new = stack.models / "models.config.new"
    new.write_text(config, encoding="utf-8")
    new.replace(stack.models / "models.config")


def _restart_model_server(stack: DrillStack) -> None:
    stack.start_model_server()
    wait_until(stack.serves, START_S, "the model server serves again")


_OUTAGE = frozenset({UNAVAILABLE})

DRILLS = (
    Drill("model server killed and restarted", _kill_model_server, 1, _OUTAGE),
    Drill("model server down for a minute", _kill_model_server, 60, _OUTAGE),
    Drill("model server restarted by SIGTERM", _terminate_model_server, costs=_OUTAGE),
    Drill("model server frozen for less than a call's deadline", _freeze_model_server, 2),
    Drill(
        "model server frozen for longer than a request's deadline",
        _freeze_model_server,
        12,
        frozenset({LATE, OVERLOADED}),
    ),
    Drill("random bytes instead of the model server", _send_random_bytes, 5, _OUTAGE),
    Drill("every answer of the model server replaced by random bytes", _randomize_answers, 5, _OUTAGE | {FAILED}),
    Drill("every answer of the model server half a second late", _delay_answers, 5, _OUTAGE),
    Drill("model server's disk full: its log cannot be written", _fill_disk, 0, _OUTAGE),
    Drill("model server's disk full: a truncated version published", _publish_truncated_version),
    # nginx retries requests without an answer. One that was partly sent when the worker died is cut off, and requests
    # on connections that the worker had just accepted are reported as the gateway being unavailable.
    Drill("each gateway worker killed", _kill_each_worker, costs=frozenset({UNANSWERED, "503 gateway-unavailable"})),
    Drill("gateway reloaded (SIGHUP)", _reload_gateway),
    Drill("gateway drained and stopped (SIGTERM)", _drain_gateway),
    Drill("nginx reloaded three times (SIGHUP)", _reload_nginx),
    Drill("version published", _publish_version),
    Drill("label moved and moved back", _move_label_and_back, path=f"/api/v1/models/{MODEL}/labels/stable/predict"),
    Drill("version deleted", _delete_version),
)

THREE_SERVERS = (
    Drill("one of three model servers killed and restarted", _kill_one_of_three, 2),
    Drill("one of three model servers frozen", _freeze_one_of_three, 8),
)
"""Drills for a gateway that uses three model servers in turn."""
