import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass_environment

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from gateway.models.configured import ConfiguredModels
from gateway.models.registry import ModelRegistry
from tests.support.fake_model_server import FakeModelServer

CONF = Path(__file__).parents[3] / "gateway" / "gunicorn_conf.py"
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"


@pytest.fixture
def read_conf(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that reads the configuration as gunicorn does, with only these settings of the gateway."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(METRICS_DIR, "")  # restored after the test, whatever a hook sets
    monkeypatch.delenv(METRICS_DIR)

    def read_conf(**variables: str) -> dict[str, Any]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(CONF))

    return read_conf


def test_the_configuration_follows_the_settings(read_conf: Callable[..., dict[str, Any]]):
    conf = read_conf(
        GATEWAY_BIND="127.0.0.1:9", GATEWAY_WORKERS="3", GATEWAY_THREADS="5", GATEWAY_WORKER_TIMEOUT_S="40",
        GATEWAY_GRACEFUL_TIMEOUT_S="11", GATEWAY_LOG_LEVEL="error", GATEWAY_MAX_WAITING="7",
    )  # fmt: skip
    names = ("bind", "workers", "timeout", "graceful_timeout")
    assert [conf[name] for name in names] == [["127.0.0.1:9"], 3, 40, 11]
    assert conf["threads"] > 5 + 7  # the others answer while all of these work or wait
    assert conf["worker_class"] == "gateway.runtime.gunicorn_worker.Worker"
    assert conf["logconfig_dict"]["root"]["level"] == "ERROR"


def test_every_thread_has_a_connection_and_others_stay_open(read_conf: Callable[..., dict[str, Any]]):
    assert read_conf()["worker_connections"] == 1000

    conf = read_conf(GATEWAY_MAX_WAITING="1024", GATEWAY_THREADS="256")

    config = Config()
    config.set("threads", conf["threads"])
    config.set("worker_connections", conf["worker_connections"])
    config.set("keepalive", conf["keepalive"])
    warnings: list[str] = []
    ThreadWorker.check_config(config, SimpleNamespace(warning=lambda *message: warnings.append(str(message))))
    assert warnings == []
    assert conf["worker_connections"] > 256 + 1024


def start_within(ulimit: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Read the configuration in a process with limits of open files, and print them and the number of connections."""
    code = (
        "import resource, runpy, sys\n"
        "conf = runpy.run_path(sys.argv[1])\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE), conf['threads'], conf['worker_connections'])"
    )
    return subprocess.run(
        ["bash", "-c", f'{ulimit} && exec "$0" -c "$1" "$2"', sys.executable, code, CONF],
        cwd=CONF.parents[1],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_limit_of_open_files_is_raised_if_that_is_permitted():
    in_a_terminal_of_macos = start_within("ulimit -Sn 256")

    soft, _, _, connections = map(int, in_a_terminal_of_macos.stdout.split())
    assert connections == 1000
    assert soft > connections


def test_connections_stay_within_the_limit_of_open_files():
    started = start_within("ulimit -Sn 256 && ulimit -Hn 1024")

    soft, hard, threads, connections = map(int, started.stdout.split())
    assert soft == hard == 1024
    assert threads + 64 < connections < 1000


def test_more_threads_than_open_files_end_the_start():
    started = start_within("ulimit -n 1024", GATEWAY_MAX_WAITING="1024")

    assert started.returncode == 1
    assert "GATEWAY_FETCH_THREADS=16 need 1188 open files in each worker, but the limit is 1024." in started.stderr


def test_workers_are_not_forked_from_a_loaded_application(read_conf: Callable[..., dict[str, Any]]):
    assert not read_conf().get("preload_app")


def test_an_invalid_setting_ends_the_start_with_its_name(read_conf: Callable[..., dict[str, Any]]):
    with pytest.raises(SystemExit, match="gateway: GATEWAY_WORKERS='many': "):
        read_conf(GATEWAY_WORKERS="many")


def test_metrics_get_a_directory_that_is_deleted_at_the_end(read_conf: Callable[..., dict[str, Any]]):
    conf = read_conf()
    conf["on_starting"](None)
    directory = Path(os.environ[METRICS_DIR])
    assert directory.is_dir()
    (directory / "counter_1.db").touch()
    conf["on_exit"](None)
    assert not directory.exists()


@pytest.mark.parametrize(("http_proxy", "bypassed"), [("", True), ("http://proxy.example:3128", False)])
def test_macos_is_not_asked_for_proxies_in_a_worker(
    read_conf: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, http_proxy: str, *, bypassed: bool
):
    for name in getproxies_environment():
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.setenv("no_proxy", "")  # restored after the test
    monkeypatch.setenv("http_proxy", http_proxy)
    monkeypatch.setattr(sys, "platform", "darwin")
    conf = read_conf()

    conf["on_starting"](None)

    # Without any proxy in the environment, urllib and requests would ask the system's framework.
    assert getproxies_environment()
    assert bool(proxy_bypass_environment("collector.example")) is bypassed
    conf["on_exit"](None)


def test_metrics_of_an_earlier_run_are_deleted(read_conf: Callable[..., dict[str, Any]], tmp_path: Path):
    directory = tmp_path / "new" / "metrics"
    conf = read_conf(**{METRICS_DIR: str(directory)})
    conf["on_starting"](None)
    (directory / "counter_1.db").touch()
    (directory / "notes.txt").touch()
    conf["on_starting"](None)
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted through /proc")
def test_modules_are_imported_before_the_fork_and_start_no_thread(tmp_path: Path):
    # A thread would be missing in the forked workers, and its locks would stay locked.
    program = (
        "import gc, os, runpy, sys\n"
        f"runpy.run_path({str(CONF)!r})['on_starting'](None)\n"
        "assert 'gateway.app' in sys.modules\n"
        "assert gc.isenabled()\n"
        "print(len(os.listdir('/proc/self/task')))\n"
    )
    environment = {**os.environ, METRICS_DIR: str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stdout.strip() == "1"


@pytest.mark.parametrize(("limit", "loaded"), [("", "False"), ("1/hour", "True")])
def test_limits_is_imported_only_with_a_rate_limit(tmp_path: Path, limit: str, loaded: str):
    program = (
        "import runpy, sys\n"
        f"runpy.run_path({str(CONF)!r})['on_starting'](None)\n"
        "print(any(name.startswith('limits') for name in sys.modules))\n"
    )
    environment = {**os.environ, METRICS_DIR: str(tmp_path), "GATEWAY_RATE_LIMIT": limit}
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stdout.strip() == loaded


def test_opencv_decodes_no_more_pixels_than_the_limit(tmp_path: Path):
    program = (
        "import runpy, sys\n"
        f"runpy.run_path({str(CONF)!r})['on_starting'](None)\n"
        "import cv2, numpy\n"
        "for side in (100, 101):\n"
        "    file = cv2.imencode('.png', numpy.zeros((side, side), numpy.uint8))[1]\n"
        "    try:\n"
        "        print(cv2.imdecode(file, cv2.IMREAD_COLOR).shape)\n"
        "    except cv2.error as error:\n"
        "        print('MAX_IMAGE_PIXELS' in str(error))\n"
    )
    environment = {**os.environ, METRICS_DIR: str(tmp_path), "GATEWAY_MAX_PIXELS": "10000"}
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stdout.splitlines() == ["(100, 100, 3)", "True"]


class Worker:
    """The part of gunicorn's worker that the hook uses; it is stopped after some heartbeats."""

    def __init__(self, heartbeats: int):
        self._remaining = heartbeats

    @property
    def alive(self) -> bool:
        return self._remaining > 0

    def notify(self) -> None:
        self._remaining -= 1


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, server: FakeModelServer, tmp_path: Path) -> ModelRegistry:
    """Return the registry of the application that a worker has loaded."""
    registry = ModelRegistry(server, ConfiguredModels.from_names(["pets"]), cards_dir=tmp_path, status_deadline_s=1)
    monkeypatch.setitem(sys.modules, "gateway.wsgi", SimpleNamespace(registry=registry))
    return registry


@pytest.mark.usefixtures("registry")
def test_a_worker_waits_until_the_default_model_can_be_used(
    read_conf: Callable[..., dict[str, Any]], server: FakeModelServer
):
    server.away = True
    recovery = threading.Timer(0.2, lambda: setattr(server, "away", False))
    recovery.start()

    read_conf(GATEWAY_START_WAIT_S="30")["post_worker_init"](Worker(10_000))
    assert not server.away
    recovery.join()


@pytest.mark.usefixtures("registry")
def test_a_worker_that_is_stopped_does_not_wait(read_conf: Callable[..., dict[str, Any]], server: FakeModelServer):
    server.away = True
    worker = Worker(3)
    read_conf(GATEWAY_START_WAIT_S="600")["post_worker_init"](worker)
    assert not worker.alive


@pytest.mark.usefixtures("registry")
def test_a_worker_waits_no_longer_than_the_setting(read_conf: Callable[..., dict[str, Any]], server: FakeModelServer):
    server.away = True
    worker = Worker(10_000)
    read_conf(GATEWAY_START_WAIT_S="0.1")["post_worker_init"](worker)
    assert worker.alive


@pytest.mark.usefixtures("registry")
def test_a_worker_does_not_wait_by_default(read_conf: Callable[..., dict[str, Any]], server: FakeModelServer):
    read_conf()["post_worker_init"](Worker(1))
    assert not server.calls
