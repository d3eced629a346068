"""Load from wrk and h2load, which take far less of the machine than what they load, with every answer checked."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECK = Path(__file__).with_name("check.lua")
TIMEOUT_S = 60
_GRPC_PREFIX_BYTES = 5
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


class WrongAnswerError(Exception):
    """An answer that was counted was not the right one, or a request failed."""


class NoAnswerError(Exception):
    """The time was too short for a single answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and what its answer must hold.

    Attributes:
        url: Where it goes.
        content_type: Of the body.
        body: The body, whole.
        expected: Texts that follow each other in the answer.
        images: How many pictures it asks about.
    """

    url: str
    content_type: str
    body: bytes
    expected: Sequence[str]
    images: int = 1


@dataclass(frozen=True, slots=True)
class ReadyCall:
    """A call of Predict whose message is written already.

    Attributes:
        address: The server's host:port.
        request: PredictRequest, serialised.
        reply: What one call answered before: every further answer has to be as long, which tells answers from refusals.
    """

    address: str
    request: bytes
    reply: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """What a client counted.

    Attributes:
        requests: Answered, and rightly.
        wall_s: In how long.
        p50_ms: Half of them took no longer, where it is known.
        p99_ms: 99 of 100 took no longer.
    """

    requests: int
    wall_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None


def require() -> None:
    """Check that the clients are installed.

    Raises:
        FileNotFoundError: one is not; the message says how to get it.
    """
    for program, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"{program} is needed to make load: apt-get install {package}")


def ask(question: Question, folder: Path, *, connections: int, seconds: float) -> Load:
    """Ask the same question over so many connections by HTTP, each time at once when the answer is there.

    Raises:
        WrongAnswerError: an answer was wrong or missing.
        NoAnswerError: none came in this time.
    """
    body, expected = folder / "body", folder / "expected"
    body.write_bytes(question.body)
    expected.write_text("".join(f"{text}\n" for text in question.expected), encoding="utf-8")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={TIMEOUT_S}s"]
    done = subprocess.run(
        [*command, "-s", str(CHECK), question.url, "--", question.content_type, str(body), str(expected)],
        capture_output=True,
        text=True,
        timeout=seconds + TIMEOUT_S,
        check=True,
    )
    told = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if told is None:
        raise WrongAnswerError(f"wrk told nothing:\n{done.stdout}{done.stderr}")
    result = json.loads(told[1])
    if result["wrong"] or result["failed"]:
        raise WrongAnswerError(f"{question.url}: {done.stdout}")
    if not result["answers"]:
        raise NoAnswerError(f"{question.url} gave no answer within {seconds} s")
    return Load(result["answers"], result["wall_s"], result["p50_ms"], result["p99_ms"])


def call(ready: ReadyCall, folder: Path, *, concurrency: int, seconds: float) -> Load:
    """Call Predict over gRPC, so many calls at once over as many connections.

    Raises:
        WrongAnswerError: a call failed, or the answers do not add up.
    """
    body = folder / "message"
    body.write_bytes(b"\0" + len(ready.request).to_bytes(_GRPC_PREFIX_BYTES - 1, "big") + ready.request)
    command = ["h2load", "-t1", f"-c{concurrency}", "-m1", f"-D{max(1, round(seconds))}", "-d", str(body)]
    done = subprocess.run(
        [*command, "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{ready.address}{_PREDICT}"],
        capture_output=True,
        text=True,
        timeout=seconds + TIMEOUT_S,
        check=True,
    )
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    wall = re.search(r"finished in ([\d.]+)(m?)s", done.stdout)
    data = re.search(r"\((\d+)\) data", done.stdout)
    if counts is None or wall is None or data is None or any(map(int, counts.groups()[1:])):
        raise WrongAnswerError(f"h2load: {done.stdout}{done.stderr}")
    answered = int(data[1]) / (_GRPC_PREFIX_BYTES + len(ready.reply))
    requests = int(counts[1])
    if not requests <= answered <= requests + concurrency:  # the last ones may come when counting has ended
        raise WrongAnswerError(f"{requests} calls gave the bytes of {answered:.1f} answers:\n{done.stdout}")
    return Load(requests, float(wall[1]) / (1000 if wall[2] else 1))
