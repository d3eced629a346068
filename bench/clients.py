"""Load from wrk and h2load, which take far less of the machine than what they load, with every answer checked."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_api.protos import predict_pb2

CHECK = Path(__file__).with_name("check.lua")
TIMEOUT_S = 60
_GRPC_PREFIX_BYTES = 5
_FRAME_HEADER_BYTES = 9


class WrongAnswerError(Exception):
    """An answer that was counted was not the right one, or there was none."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and what its answer must hold.

    Attributes:
        path: Of the URL.
        content_type: Of the body.
        body: The body, whole.
        expected: Texts that follow each other in the answer.
        images: How many pictures it asks about.
    """

    path: str
    content_type: str
    body: bytes
    expected: Sequence[str]
    images: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What a client counted.

    Attributes:
        requests: Answered, and rightly.
        wall_s: In how long.
        p50_ms: Half of them took no longer.
        p99_ms: 99 of 100 took no longer.
    """

    requests: int
    wall_s: float
    p50_ms: float
    p99_ms: float


def require() -> None:
    """Check that the clients are installed.

    Raises:
        FileNotFoundError: one is not; the message says how to get it.
    """
    for program, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"{program} is needed to make load: apt-get install {package}")


def ask(url: str, question: Question, folder: Path, *, connections: int, seconds: float) -> Load:
    """Ask the same question over so many connections by HTTP, each time at once when the answer is there.

    Raises:
        WrongAnswerError: an answer was wrong or missing.
    """
    body, expected = folder / "body", folder / "expected"
    body.write_bytes(question.body)
    expected.write_text("".join(f"{text}\n" for text in question.expected), encoding="utf-8")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={TIMEOUT_S}s"]
    done = subprocess.run(
        [*command, "-s", str(CHECK), url + question.path, "--", question.content_type, str(body), str(expected)],
        capture_output=True,
        text=True,
        timeout=seconds + TIMEOUT_S,
        check=True,
    )
    told = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if told is None:
        raise WrongAnswerError(f"wrk told nothing:\n{done.stdout}{done.stderr}")
    result = json.loads(told[1])
    if result["wrong"] or result["failed"] or not result["answers"]:
        raise WrongAnswerError(f"{question.path} of {url}: {done.stdout}")
    return Load(result["answers"], result["wall_s"], result["p50_ms"], result["p99_ms"])


def call(address: str, request: bytes, reply: bytes, *, concurrency: int, seconds: float) -> Load:
    """Call Predict over gRPC with a ready message, so many calls at once over as many connections.

    Args:
        address: The server's host:port.
        request: PredictRequest, serialised.
        reply: What one call answered before: every further answer has to be as long, which with numbers of fixed
            size tells answers from refusals.
        concurrency: Calls at once.
        seconds: For how long.

    Raises:
        WrongAnswerError: a call failed, or the answers do not add up.
    """
    # h2load counts requests, not seconds, once it has a body: a short run tells how many to make.
    trial = _h2load(address, request, reply, concurrency, 8 * concurrency)
    return _h2load(
        address, request, reply, concurrency, max(concurrency, round(trial.requests / trial.wall_s * seconds))
    )


def _h2load(address: str, request: bytes, reply: bytes, concurrency: int, number: int) -> Load: ...


def predict_message(model: str, tensor: object) -> bytes:
    """Serialise a PredictRequest with one tensor."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.inputs["image"].CopyFrom(tensor)
    return bytes(message.SerializeToString())
