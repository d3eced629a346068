"""The serverless image with the model `digits`, and its containers, which are processes of this machine."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import image
from tests.support.image import Image
from tests.support.stack import ROOT, free_ports
from tests.support.waiting import until

DOCKERFILE = ROOT / "deploy/serverless/Dockerfile"
PATIENCE_S = 90


@dataclass(frozen=True, slots=True)
class Container:
    """A running container: its process, port and output."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_open(self) -> bool:
        """Return whether the port accepts connections; fails if the container has ended."""
        assert self.process.poll() is None, self.output()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="session")
def serverless_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    packages = image.install(DOCKERFILE, tmp_path_factory.mktemp("dependencies"))
    return image.build(DOCKERFILE, tmp_path_factory.mktemp("image"), packages / "bin", MODEL="digits")


@pytest.fixture(scope="session")
def start_container(
    serverless_image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Iterator[Container]]:
    """Return a function that starts a container with arguments and variables, and stops it in the end."""

    @contextmanager
    def start(*arguments: str, **variables: str) -> Iterator[Container]:
        port = free_ports().front
        log = tmp_path_factory.mktemp("container") / "log"
        process = serverless_image.start(*arguments, log=log, PORT=str(port), **variables)
        try:
            yield Container(process, port, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)

    return start


@pytest.fixture(scope="session")
def container(start_container: Callable[..., Iterator[Container]]) -> Iterator[Container]:
    """A container that listens, started as SageMaker does."""
    with start_container("serve", GATEWAY_SAGEMAKER="true") as container:
        until(container.is_open, PATIENCE_S, "listening")
        yield container
