"""Generate load with wrk and h2load, which use far less of the processor than Python users, and check every answer.

wrk compares services by HTTP, h2load calls the model server by gRPC and sends requests at a fixed rate.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.load_generator import OK, Call, LoadResult

CHECK = Path(__file__).with_name("check.lua")
TIMEOUT_S = 60
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
US_PER_S = 1_000_000
_GRPC_PREFIX_BYTES = 5
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


class WrongAnswerError(Exception):
    """An answer was wrong, or a request failed."""


class NoAnswerError(Exception):
    """The measurement was too short for a single answer."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request and what its answer must contain.

    Attributes:
        url: URL to post to.
        content_type: Content type of the body.
        body: The complete body.
        expected: Texts that the answer contains in this order.
        images: Number of images in the body.
    """

    url: str
    content_type: str
    body: bytes
    expected: Sequence[str]
    images: int = 1


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """A serialized call of Predict.

    Attributes:
        address: host:port of the server.
        message: The PredictRequest.
        answer: Answer to an earlier call. Every answer must have its length, which distinguishes answers from errors.
    """

    address: str
    message: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Throughput:
    """The figures of one run.

    Attributes:
        requests: Number of requests, all answered correctly.
        wall_s: Seconds that they took.
        p50_ms: Median latency, None if it was not measured.
        p99_ms: 99th percentile of the latency, None if it was not measured.
    """

    requests: int
    wall_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None


def find_program(name: str) -> str:
    """Return the path of wrk or h2load.

    Raises:
        FileNotFoundError: It is not installed; the message has the command that installs it.
    """
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; install it with: apt-get install {PACKAGES[name]}")
    return path


def run_wrk(request: HttpRequest, folder: Path, *, connections: int, seconds: float) -> Throughput:
    """Repeat a request over several connections, each time as soon as the answer has arrived.

    Args:
        request: What to send.
        folder: Folder for wrk's input files.
        connections: Number of connections.
        seconds: Duration; wrk takes whole seconds, at least one.

    Raises:
        WrongAnswerError: An answer was wrong or missing.
        NoAnswerError: No answer arrived in this time.
    """
    body, expected = folder / "body", folder / "expected"
    body.write_bytes(request.body)
    expected.write_text("".join(f"{text}\n" for text in request.expected), encoding="utf-8")
    command = [
        find_program("wrk"),
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        f"--timeout={TIMEOUT_S}s",
    ]
    output = _run([*command, "-s", str(CHECK), request.url, "--", request.content_type, body, expected], seconds)
    match = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if match is None:
        raise WrongAnswerError(f"wrk printed no result:\n{output}")
    result = json.loads(match[1])
    if result["wrong"] or result["failed"]:
        raise WrongAnswerError(f"{request.url}: {output}")
    if not result["answers"]:
        raise NoAnswerError(f"{request.url} did not answer within {seconds} s")
    return Throughput(result["answers"], result["wall_s"], result["p50_ms"], result["p99_ms"])


def run_h2load(request: GrpcRequest, folder: Path, *, concurrency: int, seconds: float) -> Throughput:
    """Repeat a gRPC call over several connections, one call at a time on each.

    Raises:
        WrongAnswerError: A call failed, or the answers do not have the expected length.
    """
    body = folder / "message"
    body.write_bytes(b"\0" + len(request.message).to_bytes(_GRPC_PREFIX_BYTES - 1, "big") + request.message)
    command: list[str | Path] = [
        find_program("h2load"),
        "-t1",
        f"-c{concurrency}",
        "-m1",
        f"-D{max(1, round(seconds))}",
        "-d",
        body,
    ]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    output = _run([*command, *headers, f"http://{request.address}{_PREDICT}"], seconds)
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    wall = re.search(r"finished in ([\d.]+)(m?)s", output)
    data = re.search(r"\((\d+)\) data", output)
    if counts is None or wall is None or data is None or any(map(int, counts.groups()[1:])):
        raise WrongAnswerError(f"h2load: {output}")
    answers = int(data[1]) / (_GRPC_PREFIX_BYTES + len(request.answer))
    calls = int(counts[1])
    if not calls <= answers <= calls + concurrency:  # the last answers may arrive after h2load has stopped counting
        raise WrongAnswerError(f"{calls} calls received the bytes of {answers:.1f} answers:\n{output}")
    return Throughput(calls, float(wall[1]) / (1000 if wall[2] else 1))


@dataclass(frozen=True, slots=True)
class HttpUsers:
    """Users, simulated by h2load, that send one image to a service; an outcome is `OK` or the HTTP status.

    Attributes:
        url: URL to post to.
        image: PNG file that they send.
        processors: Numbers of the processors that h2load runs on; empty for any.
    """

    url: str
    image: Path
    processors: Collection[int] = ()

    def run(self, *, seconds: int, users: int, rate: float | None = None) -> LoadResult:
        """Send requests for some time.

        Args:
            seconds: Duration.
            users: Number of connections.
            rate: Requests per second of all users together; None to send the next one as soon as one is answered.

        Raises:
            RuntimeError: h2load failed.
        """
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            prefix = ["taskset", "--cpu-list", ",".join(map(str, self.processors))] if self.processors else []
            command = [
                *(*prefix, find_program("h2load"), "--h1", f"--clients={users}", f"--duration={seconds}"),
                *(f"--data={self.image}", "--header=content-type: image/png", f"--log-file={log}"),
                *([f"--rps={rate / users:.3f}"] if rate else []),
                self.url,
            ]
            _run(command, seconds)
            calls = [_logged_call(line) for line in log.read_text(encoding="ascii").splitlines()]
        return LoadResult(calls, seconds, len(calls))


def _logged_call(line: str) -> Call:
    """Read a line of h2load's log: start and latency in microseconds, HTTP status between them."""
    started_us, status, latency_us = line.split("\t")[:3]
    return Call(int(started_us) / US_PER_S, int(latency_us) / US_PER_S, OK if status == "200" else status)


def _run(command: Sequence[str | Path], seconds: float) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + TIMEOUT_S, check=False)
    output = result.stdout + result.stderr
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with exit status {result.returncode}:\n{output}")
    return output
