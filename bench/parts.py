"""The programs of a stack, each started, harmed and ended by itself: one gateway behind nginx, and model servers."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Self

import requests

from gateway.settings import Settings
from tools import nginx, ports, programs
from tools.programs import ROOT, Options
from tools.stack import Program

START_S = 120.0
END_S = 60.0
MODEL = "digits"
CONFIG = """model_config_list {{ config {{
  name: "{name}" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ all {{}} }}
  version_labels {{ key: "stable" value: 1 }}
}} }}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """Where a model server runs.

    Attributes:
        address: Its IPv4 address.
        enter: What to put in front of a command so that it runs there, as in a network namespace.
    """

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


HERE = Host()


class Parts:
    """A stack in pieces, over a copy of one committed model; leaving the context ends what still runs.

    Args:
        folder: For the copy, the configuration and the logs; it must be empty.
        hosts: Where the model servers run that the gateway uses in turn. One more, `spare`, is not asked by it.
        environment: Settings of the gateway.
    """

    def __init__(
        self, folder: Path, *, hosts: Sequence[Host] = (HERE,), environment: Mapping[str, str] | None = None
    ) -> None:
        self.models = folder / "models"
        self.base = self.models / MODEL
        self.base.mkdir(parents=True)
        shutil.copytree(ROOT / "serving_models" / MODEL / "1", self.base / "1")
        config = self.models / "models.config"
        config.write_text(CONFIG.format(name=MODEL, base=self.base), encoding="utf-8")
        self.hosts = (*hosts, HERE)
        self.spare = len(hosts)
        port, gateway_port, *others = ports.find(2 + 2 * len(self.hosts))
        self.servers = [
            Options(
                host="127.0.0.1",
                port=port,
                gateway_port=gateway_port,
                grpc_port=others[2 * number],
                rest_port=others[2 * number + 1],
                models_config=config,
                run_dir=folder,
                ready_timeout_s=START_S,
                use_nginx=True,
            )
            for number in range(len(self.hosts))
        ]
        self._options = self.servers[0]
        self._options.logs.mkdir()
        targets = ",".join(
            f"{host.address}:{options.grpc_port}" for host, options in zip(hosts, self.servers, strict=False)
        )
        self._environment = {"GATEWAY_TFS_TARGET": f"ipv4:{targets}", **(environment or {})}
        self._settings = Settings.from_env({**programs.gateway_environment(self._options), **self._environment})
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{port}"
        self.predict_url = f"{self.url}/api/v1/predict"

    def __enter__(self) -> Self:
        """Leave it to the caller what is started."""
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever still runs, also what is frozen."""
        for name in list(self._running):
            self.send(name, signal.SIGCONT)
            self.end(name, signal.SIGKILL)

    def start(self) -> Self:
        """Start everything, and wait until requests are answered."""
        for number in range(self.spare):
            self.start_model_server(number)
        self.start_gateway()
        self.start_nginx()
        wait_until(self.ready, START_S, "the stack is ready")
        return self

    def start_model_server(self, number: int = 0, *, log: Path | None = None) -> None:
        """Start a model server; `log` takes what it says, by default a file of the folder."""
        program = programs.model_server(self.servers[number], self._settings)
        # By default a version that cannot be loaded is tried again for five minutes before it is called broken.
        command = (*self.hosts[number].enter, *program.command, "--max_num_load_retries=0")
        self._start(replace(program, name=server_name(number), command=command), log)

    def start_gateway(self) -> None:
        """Start the gateway."""
        program = programs.gateway(self._options, self._settings, self._options.run_dir, direct=False)
        self._start(replace(program, environment={**program.environment, **self._environment}))

    def start_nginx(self) -> None:
        """Start nginx.

        Raises:
            RuntimeError: it is not installed.
        """
        found = nginx.find()
        if found is None:
            raise RuntimeError("nginx is not installed")
        self._start(programs.front(self._options, self._settings, self._options.run_dir, found))

    def ready(self) -> bool:
        """Ask /readyz through nginx."""
        return status(f"{self.url}/readyz") == HTTPStatus.OK

    def serves(self, number: int = 0) -> bool:
        """Ask a model server itself whether it serves the model."""
        return status(f"{self._rest(number)}/v1/models/{MODEL}") == HTTPStatus.OK

    def calls(self, number: int) -> float:
        """Ask a model server how many predictions it has answered."""
        url = f"{self._rest(number)}/monitoring/prometheus/metrics"
        lines = requests.get(url, timeout=START_S).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(":tensorflow:serving:request_count{"))

    def log(self, name: str) -> Path:
        """Give the file that has what a program says."""
        return self._options.logs / f"{name}.log"

    def pid(self, name: str) -> int:
        """Give the process number of a program."""
        return self._running[name].pid

    def workers(self) -> list[int]:
        """List the gateway's workers."""
        pid = self.pid("gateway")
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a program a signal."""
        self._running[name].send_signal(number)

    def end(self, name: str, number: signal.Signals) -> int:
        """Send a program a signal that ends it, wait for its end, and give its exit status."""
        process = self._running.pop(name)
        process.send_signal(number)
        try:
            return process.wait(timeout=END_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that outlived their master

    def _rest(self, number: int) -> str:
        return f"http://{self.hosts[number].address}:{self.servers[number].rest_port}"

    def _start(self, program: Program, log: Path | None = None) -> None:
        with (log or self.log(program.name)).open("ab") as output:
            self._running[program.name] = subprocess.Popen(  # noqa: S603  # the project's own programs
                program.command,
                cwd=program.directory,
                env=program.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def server_name(number: int) -> str:
    """Name a model server."""
    return f"model-server-{number}"


def status(url: str) -> int:
    """Give the status that a URL answers with; 0 where nobody answers."""
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


def wait_until(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    give_up_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"after {within_s:g} s still not so: {what}")
        time.sleep(0.02)
