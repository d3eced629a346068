"""Find out how this machine should compute calls together, and write batching.config; `make tune` calls this.

    python -m tools.tune --p99-ms=200
    python -m tools.tune --p99-ms=200 --url=http://localhost:8080 --restart='docker compose restart model-server'

The service is measured at several settings, each after a restart of the model server: one that this command starts,
with the stand-in, or the running one at `--url`, whose model server `--restart` starts anew with the file just written.
Of the settings whose 99th percentile of the times is within `--p99-ms` the one with most answers a second is written.
"""

import argparse
import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.load import Load, Measurement, is_ready, measure
from tools.programs import ROOT
from tools.service import READY_TIMEOUT_S, started
from tools.stack import ProgramEndedError, StopRequestedError

POLL_S = 0.2
# Calls may have more pictures than are computed together: they are taken apart.
MAX_BATCH_SIZE = 128
MAX_WAITING_ROWS = 4096


class TuneError(Exception):
    """Nothing can be written; the message says why."""


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


def choose(measured: Mapping[Setting, Measurement], p99_ms: float) -> Setting | None:
    """Return the setting with the most answers a second among those without failures and within the target, if any."""
    good = {setting: it.rate for setting, it in measured.items() if not it.failures and it.p99_ms <= p99_ms}
    return max(good, key=lambda setting: good[setting], default=None)


@contextlib.contextmanager
def _service(given: argparse.Namespace) -> Iterator[str]:
    if given.url:
        with restarted(given.url, given.restart) as url:
            yield url
    else:
        with started(given.output.absolute()) as service:
            yield service.url


@contextlib.contextmanager
def restarted(url: str, restart: str) -> Iterator[str]:
    """Restart the model server of the service at a URL, and wait until that is ready again; yield the URL.

    Raises:
        CalledProcessError: the command failed.
        TimeoutError: the service was not ready in time.
    """
    subprocess.run(shlex.split(restart), check=True, timeout=READY_TIMEOUT_S)
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not is_ready(url):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{url} is not ready {READY_TIMEOUT_S:.0f} s after the restart")
        time.sleep(POLL_S)
    yield url


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the best; return the exit status, 1 when nothing was written."""
    given = _parse(arguments)
    before = given.output.read_text(encoding="utf-8") if given.output.exists() else None
    try:
        tune(given)
    except (TuneError, ProgramEndedError, StopRequestedError, TimeoutError, subprocess.CalledProcessError) as error:
        if before is None:
            given.output.unlink(missing_ok=True)
        else:
            given.output.write_text(before, encoding="utf-8")
        print(f"{given.output} is as it was: {error}", file=sys.stderr)
        return 1
    return 0


def tune(given: argparse.Namespace) -> None:
    """Measure every setting and write the best.

    Raises:
        TuneError: there is nothing to send, or no setting keeps within the target.
        ProgramEndedError, CalledProcessError, TimeoutError: the service could not be started with one of them.
        StopRequestedError: a signal came.
    """
    golden = ROOT / "serving_models" / given.model
    images = [file.read_bytes() for file in sorted(golden.glob("*/assets.extra/golden/*.png"))]
    if not images:
        raise TuneError(f"there are no golden images below {golden}; --model names one that has.")
    load = Load(f"/api/v1/models/{given.model}/predict", images, given.concurrency, given.seconds)
    measured = {}
    for setting in SETTINGS:
        given.output.write_text(setting.text("Being measured by `make tune`."), encoding="utf-8")
        with _service(given) as url:
            it = measured[setting] = measure(url, load)
        times = f"50 % in {it.p50_ms:.1f} ms, 99 % in {it.p99_ms:.1f} ms, {it.failures} failed"
        print(f"{setting.rows} together, waiting {setting.wait_us} us: {it.rate:.1f} answers/s, {times}", flush=True)
    best = choose(measured, given.p99_ms)
    if best is None:
        raise TuneError(f"no setting keeps 99 % of the answers within {given.p99_ms:g} ms.")
    it = measured[best]
    note = (
        f"Written by `make tune` for {given.model}, {given.concurrency} requests at a time and 99 % of the answers\n"
        f"# within {given.p99_ms:g} ms: {it.rate:.0f} answers a second, 99 % within {it.p99_ms:.0f} ms."
    )
    given.output.write_text(best.text(note), encoding="utf-8")
    print(
        f"{given.output}: {best.rows} together, waiting {best.wait_us} us. It counts when the model server starts anew."
    )


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
