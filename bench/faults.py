"""Faults really done to a running stack while users ask, each until it is over: what they were told is counted.

`bench.reliability` prints the counts; tests/e2e/test_fault_drills.py holds them to what each drill may cost.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import requests
from google.protobuf import text_format

from bench import meddler
from bench.asking import UNANSWERED, Asking
from bench.parts import CONFIG, MODEL, START_S, Parts, server_name, wait_until
from tfs_api.protos import model_management_pb2, model_service_pb2_grpc

AWAY = "503 model-unavailable"
LATE = "504 deadline-exceeded"
FULL = "503 overloaded"
FAILED = "502 model-failed"
MAIN = server_name(0)


@dataclass(frozen=True, slots=True)
class Drill:
    """One fault.

    Attributes:
        name: What happens.
        do: Does it, waits for as many seconds as it is given where time matters, and puts things right.
        seconds: How long that is in the report.
        costs: What users may be told meanwhile but right answers; never wrong ones.
        path: Where they ask.
    """

    name: str
    do: Callable[[Parts, Asking, float], None]
    seconds: float = 0
    costs: frozenset[str] = frozenset()
    path: str = "/api/v1/predict"


def run(drill: Drill, parts: Parts, *, seconds: float, users: int = 8) -> Asking:
    """Do it while users ask, and go on until requests are answered again."""
    with Asking(parts.url + drill.path, parts.base / "1" / "assets.extra" / "golden", users=users) as asking:
        asking.await_answers(50)
        drill.do(parts, asking, seconds)
        asking.await_answers(50)
    return asking


def _killed(parts: Parts, _: Asking, seconds: float) -> None:
    parts.end(MAIN, signal.SIGKILL)
    time.sleep(seconds)
    _back(parts)


def _restarted(parts: Parts, _: Asking, __: float) -> None:
    parts.end(MAIN, signal.SIGTERM)
    _back(parts)


def _frozen(parts: Parts, _: Asking, seconds: float) -> None:
    parts.send(MAIN, signal.SIGSTOP)
    time.sleep(seconds)
    parts.send(MAIN, signal.SIGCONT)


def _nonsense(parts: Parts, _: Asking, seconds: float) -> None:
    parts.end(MAIN, signal.SIGKILL)
    with meddler.nonsense(parts.servers[0].grpc_port):
        time.sleep(seconds)
    _back(parts)


def _garbled(parts: Parts, _: Asking, seconds: float) -> None:
    _meddled(parts, meddler.garbled, seconds)


def _slow(parts: Parts, _: Asking, seconds: float) -> None:
    _meddled(parts, meddler.late(0.5), seconds)


def _meddled(parts: Parts, change: meddler.Change, seconds: float) -> None:
    parts.start_model_server(parts.spare)
    wait_until(lambda: parts.serves(parts.spare), START_S, "the other model server serves")
    parts.end(MAIN, signal.SIGKILL)
    with meddler.between(parts.servers[0].grpc_port, parts.servers[parts.spare].grpc_port, change):
        time.sleep(seconds)
    parts.end(server_name(parts.spare), signal.SIGKILL)
    _back(parts)


def _disk_full(parts: Parts, asking: Asking, seconds: float) -> None:
    parts.end(MAIN, signal.SIGTERM)
    parts.start_model_server(log=Path("/dev/full"))  # every write to it fails as on a full disk
    wait_until(parts.serves, START_S, "the model server is back")
    asking.await_answers(200)
    time.sleep(seconds)


def _half_copied(parts: Parts, asking: Asking, _: float) -> None:
    broken = parts.base / "9"
    shutil.copytree(parts.base / "1", parts.models / "copied")
    graph = parts.models / "copied" / "saved_model.pb"
    os.truncate(graph, graph.stat().st_size // 2)
    (parts.models / "copied").rename(broken)
    wait_until(lambda: _reason(parts, 9), START_S, "the API tells why the version is not served")
    asking.await_answers(200)
    if not parts.ready():
        raise AssertionError("a broken version has ended readiness")
    shutil.rmtree(broken)


def _reason(parts: Parts, version: int) -> str:
    """Ask the gateway why a version is not served; empty while it does not say so."""
    told = requests.get(f"{parts.url}/api/v1/models/{MODEL}", timeout=START_S).json()
    return next((str(item.get("reason", "")) for item in told["versions"] if item["version"] == version), "")


def _worker_killed(parts: Parts, asking: Asking, _: float) -> None:
    for worker in parts.workers():
        os.kill(worker, signal.SIGKILL)
        wait_until(partial(_replaced, parts, worker), START_S, "the dead worker is replaced")
        asking.await_answers(100)


def _replaced(parts: Parts, worker: int) -> bool:
    workers = parts.workers()
    return worker not in workers and len(workers) > 1


def _reloaded(parts: Parts, _: Asking, __: float) -> None:
    before = set(parts.workers())
    parts.send("gateway", signal.SIGHUP)
    wait_until(lambda: before.isdisjoint(parts.workers()), START_S, "every worker is a new one")


def _nginx_reloaded(parts: Parts, asking: Asking, _: float) -> None:
    for _ in range(3):
        parts.send("nginx", signal.SIGHUP)
        asking.await_answers(100)


def _published(parts: Parts, asking: Asking, _: float) -> None:
    shutil.copytree(parts.base / "1", parts.models / "copied")
    (parts.models / "copied").rename(parts.base / "2")
    asking.await_version(2)


def _deleted(parts: Parts, asking: Asking, _: float) -> None:
    shutil.rmtree(parts.base / "2")
    asking.await_version(1)


def _label_moved(parts: Parts, asking: Asking, _: float) -> None:
    for version in (2, 1):
        _move_label(parts, version)
        asking.await_version(version)


def _stopped(parts: Parts, asking: Asking, _: float) -> None:
    parts.send("gateway", signal.SIGTERM)
    wait_until(lambda: not parts.ready(), START_S, "the gateway says that it is about to stop")
    asking.await_answers(50)
    asking.pause()  # as a load balancer does
    parts.end("gateway", signal.SIGCONT)
    parts.start_gateway()
    wait_until(parts.ready, START_S, "the gateway is back")
    asking.resume()


def _one_of_three_killed(parts: Parts, asking: Asking, seconds: float) -> None:
    parts.end(server_name(1), signal.SIGKILL)
    time.sleep(seconds)
    asking.await_answers(200)
    parts.start_model_server(1)
    wait_until(lambda: parts.serves(1), START_S, "it is back")
    _in_use_again(parts)


def _one_of_three_frozen(parts: Parts, asking: Asking, seconds: float) -> None:
    parts.send(server_name(1), signal.SIGSTOP)
    time.sleep(seconds)
    asking.await_answers(200)
    parts.send(server_name(1), signal.SIGCONT)
    _in_use_again(parts)


def _in_use_again(parts: Parts) -> None:
    before = parts.calls(1)
    wait_until(lambda: parts.calls(1) > before + 20, START_S, "it gets its share of the requests")


def _move_label(parts: Parts, version: int) -> None:
    """Have the label `stable` point to a version, as an operator does over gRPC."""
    config = CONFIG.format(name=MODEL, base=parts.base).replace("value: 1", f"value: {version}")
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config, request.config)
    with grpc.insecure_channel(f"127.0.0.1:{parts.servers[0].grpc_port}") as channel:
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=START_S)


def _back(parts: Parts) -> None:
    parts.start_model_server()
    wait_until(parts.serves, START_S, "the model server is back")


_GONE = frozenset({AWAY})

DRILLS = (
    Drill("model server killed, started again", _killed, 1, _GONE),
    Drill("model server gone for a minute", _killed, 60, _GONE),
    Drill("model server restarted by SIGTERM", _restarted, costs=_GONE),
    Drill("model server frozen, shorter than a call may take", _frozen, 2),
    Drill("model server frozen, longer than a request may take", _frozen, 12, frozenset({LATE, FULL})),
    Drill("random bytes in its place", _nonsense, 5, _GONE),
    Drill("every answer of it garbled", _garbled, 5, _GONE | {FAILED}),
    Drill("every answer of it half a second late", _slow, 5, _GONE),
    Drill("its disk full: nothing can be written to its log", _disk_full, 0, _GONE),
    Drill("its disk full: a version copied by half", _half_copied),
    # nginx asks again for what had no answer yet. One that was half sent when the worker died is broken off, and what
    # a dying worker had just accepted on a new connection is told as the gateway being away.
    Drill("each gateway worker killed", _worker_killed, costs=frozenset({UNANSWERED, "503 gateway-unavailable"})),
    Drill("gateway reloaded (SIGHUP)", _reloaded),
    Drill("gateway stopped (SIGTERM), after a while in which it is not ready", _stopped),
    Drill("nginx reloaded three times (SIGHUP)", _nginx_reloaded),
    Drill("version published", _published),
    Drill("label moved, and back", _label_moved, path=f"/api/v1/models/{MODEL}/labels/stable/predict"),
    Drill("version deleted", _deleted),
)

THREE_SERVERS = (
    Drill("one of three model servers killed, started again", _one_of_three_killed, 2),
    Drill("one of three model servers frozen", _one_of_three_frozen, 8),
)
"""For a gateway that uses three model servers in turn."""
