"""Find out how this machine should compute calls together, and write batching.config; `make tune` calls this.

    python -m tools.tune --p99-ms=200
    python -m tools.tune --p99-ms=200 --url=http://localhost:8080 --restart='docker compose restart model-server'

The service is measured at several settings, each after a restart of the model server: one that this command starts,
with the stand-in, or the running one at `--url`, whose model server `--restart` starts anew with the file just written.
Of the settings whose 99th percentile of answer times is within `--p99-ms` the one with most answers a second is written.
"""

import argparse
import contextlib
import http.client
import itertools
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import Settings
from tools import nginx, ports, programs
from tools.programs import ROOT, Options
from tools.run import Probe
from tools.stack import Stack

READY_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 60.0
POLL_S = 0.2
FIRST_PORT = 18080
# Calls may have more pictures than are computed together: they are taken apart.
MAX_BATCH_SIZE = 128
MAX_WAITING_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Setting:
    """How calls are computed together.

    Attributes:
        rows: The most pictures that are computed together.
        wait_us: How long a call waits for others, in microseconds.
    """

    rows: int
    wait_us: int

    def text(self, note: str) -> str:
        """Write BatchingParameters in text format, with a note above."""
        return (
            f"# {note}\n"
            f"max_batch_size {{ value: {MAX_BATCH_SIZE} }}\n"
            "enable_large_batch_splitting { value: true }\n"
            f"max_execution_batch_size {{ value: {self.rows} }}\n"
            f"batch_timeout_micros {{ value: {self.wait_us} }}\n"
            f"max_enqueued_batches {{ value: {MAX_WAITING_ROWS // self.rows} }}\n"
        )


SETTINGS = (Setting(1, 0), Setting(8, 0), Setting(32, 0), Setting(32, 1000), Setting(32, 5000), Setting(128, 10000))


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, and for how long.

    Attributes:
        path: Where to, below the service's URL.
        images: Encoded pictures, sent one at a time in turn.
        concurrency: Requests at a time.
        seconds: How long; a fifth of it more is sent first, and not counted.
    """

    path: str
    images: Sequence[bytes]
    concurrency: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a load met.

    Attributes:
        rate: Answers a second.
        p50_ms: Median of the answer times.
        p99_ms: Their 99th percentile.
        failures: Requests that were not answered with 200.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    failures: int


def measure(url: str, load: Load) -> Measurement:
    """Send a load to a service and measure its answers."""
    start_s = time.monotonic() + load.seconds / 5
    end_s = start_s + load.seconds
    with ThreadPoolExecutor(load.concurrency) as pool:
        answered = pool.map(lambda first: list(_ask(url, load, first, end_s)), range(load.concurrency))
        counted = [(times, right) for answers in answered for began, times, right in answers if began >= start_s]
    durations_ms = [duration_s * 1e3 for duration_s, _ in counted]
    percentiles = statistics.quantiles(durations_ms, n=100, method="inclusive")
    failures = sum(not right for _, right in counted)
    return Measurement((len(counted) - failures) / load.seconds, percentiles[49], percentiles[98], failures)


def choose(measured: Mapping[Setting, Measurement], p99_ms: float) -> Setting | None:
    """Return the setting with the most answers a second among those without failures and within the target, if any."""
    good = {setting: it.rate for setting, it in measured.items() if not it.failures and it.p99_ms <= p99_ms}
    return max(good, key=lambda setting: good[setting], default=None)


def _ask(url: str, load: Load, first: int, end_s: float) -> Iterator[tuple[float, float, bool]]:
    """Send pictures over a connection until `end_s`; yield when each was sent, how long it took, and if all was well."""
    with contextlib.closing(_connection(url)) as connection:
        for index in itertools.count(first):
            began_s = time.monotonic()
            if began_s > end_s:
                return
            image = load.images[index % len(load.images)]
            try:
                connection.request("POST", load.path, image, {"Content-Type": "application/octet-stream"})
                response = connection.getresponse()
                response.read()
                right = response.status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                connection.close()
                right = False
            yield began_s, time.monotonic() - began_s, right


@contextlib.contextmanager
def started(batching: Path) -> Iterator[str]:
    """Run the service on free ports, its model server with this file; yield its URL.

    Raises:
        ProgramEndedError: a part of it ended by itself.
        TimeoutError: it was not ready in time.
    """
    chosen: list[int] = []
    for _ in range(4):
        chosen.append(ports.usable_above(FIRST_PORT, besides=chosen))
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
            yield f"http://{options.host}:{options.port}"


@contextlib.contextmanager
def restarted(url: str, restart: str) -> Iterator[str]:
    """Restart the model server of the service at a URL, and wait until that is ready again; yield the URL.

    Raises:
        CalledProcessError: the command failed.
        TimeoutError: the service was not ready in time.
    """
    subprocess.run(shlex.split(restart), check=True, timeout=READY_TIMEOUT_S)
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(url):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{url} is not ready {READY_TIMEOUT_S:.0f} s after the restart")
        time.sleep(POLL_S)
    yield url


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=ANSWER_TIMEOUT_S)


def _is_ready(url: str) -> bool:
    with contextlib.closing(_connection(url)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the best; return the exit status, 1 when no setting keeps within the target."""
    given = _parse(arguments)
    golden = ROOT / "serving_models" / given.model
    images = [file.read_bytes() for file in sorted(golden.glob("*/assets.extra/golden/*.png"))]
    if not images:
        print(f"There are no golden images below {golden}: --model names one that has.", file=sys.stderr)
        return 1
    load = Load(f"/api/v1/models/{given.model}/predict", images, given.concurrency, given.seconds)
    before = given.output.read_text(encoding="utf-8") if given.output.exists() else None
    measured = {}
    print("computed together  wait     answers/s  p50      p99      failed", flush=True)
    try:
        for setting in SETTINGS:
            given.output.write_text(setting.text("Being measured by `make tune`."), encoding="utf-8")
            service = restarted(given.url, given.restart) if given.url else started(given.output.absolute())
            with service as url:
                it = measured[setting] = measure(url, load)
            times = f"{it.p50_ms:6.1f} ms {it.p99_ms:6.1f} ms"
            print(f"{setting.rows:17}  {setting.wait_us:5} us  {it.rate:8.1f}  {times}  {it.failures}", flush=True)
        best = choose(measured, given.p99_ms)
    except BaseException:
        _restore(given.output, before)
        raise
    if best is None:
        _restore(given.output, before)
        print(f"No setting keeps within {given.p99_ms:g} ms; {given.output} is as it was.", file=sys.stderr)
        return 1
    it = measured[best]
    note = (
        f"Written by `make tune` for {given.model}, {given.concurrency} requests at a time and a 99th percentile of\n"
        f"# at most {given.p99_ms:g} ms: {it.rate:.0f} answers a second, {it.p99_ms:.0f} ms."
    )
    given.output.write_text(best.text(note), encoding="utf-8")
    print(
        f"{given.output}: {best.rows} together, waiting {best.wait_us} us. It counts when the model server starts anew."
    )
    return 0


def _restore(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(text, encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.tune", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--p99-ms", type=float, default=200, help="target of the 99th percentile, default 200")
    parser.add_argument("--model", default="cifar10", help="which model to ask, with its golden images")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a time, default 16")
    parser.add_argument("--seconds", type=float, default=10, help="how long each setting is measured, default 10")
    parser.add_argument("--output", type=Path, default=ROOT / "serving_models" / "batching.config", metavar="FILE")
    parser.add_argument("--url", help="a running service, which reads FILE")
    parser.add_argument("--restart", help="the command that starts its model server anew")
    given = parser.parse_args(arguments)
    if bool(given.url) != bool(given.restart):
        parser.error("--url and --restart belong together")
    return given


if __name__ == "__main__":
    sys.exit(main())
