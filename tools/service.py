"""A service of one's own on free ports, to be measured."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import Settings
from tools import nginx, ports, programs
from tools.programs import ROOT, Options
from tools.run import Probe
from tools.stack import Stack

READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        url: Where it answers.
        processes: The process that each program was started as, by the program's name.
    """

    url: str
    processes: Mapping[str, int]

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time that each program has taken by now, its workers included, in seconds."""
        return {name: _cpu_s(process) for name, process in self.processes.items()}


def _cpu_s(process: int) -> float:
    # proc(5): the fields behind the name, which may hold anything, in brackets.
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return own + sum(_cpu_s(int(child)) for child in children)


@contextlib.contextmanager
def started(batching: Path | None = None) -> Iterator[Service]:
    """Run the service on free ports, its model server with this file.

    Raises:
        ProgramEndedError: a part of it ended by itself.
        TimeoutError: it was not ready in time.
    """
    chosen = ports.find(4)
    with tempfile.TemporaryDirectory() as folder:
        program = nginx.find()
        options = Options(
            host="127.0.0.1",
            port=chosen[0],
            gateway_port=chosen[1],
            grpc_port=chosen[2],
            rest_port=chosen[3],
            models_config=ROOT / "serving_models" / "models.config",
            run_dir=Path(folder),
            ready_timeout_s=READY_TIMEOUT_S,
            use_nginx=program is not None,
            batching_config=batching,
        )
        settings = Settings.from_env(programs.gateway_environment(options))
        options.logs.mkdir()
        with Stack(options.logs) as stack:
            stack.start(programs.model_server(options, settings))
            stack.start(programs.gateway(options, settings, options.run_dir, direct=program is None))
            if program is not None:
                stack.start(programs.front(options, settings, options.run_dir, program))
            stack.wait_until(Probe(options).ready, options.ready_timeout_s)
            yield Service(f"http://{options.host}:{options.port}", stack.processes())
