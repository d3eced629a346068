"""Find out whether and how the model server should batch calls on this machine, and write batching.config.

    python -m tools.tune --p99-ms=200
    python -m tools.tune --p99-ms=200 --url=http://localhost:8080 --restart='docker compose restart model-server'

`make tune` calls this. It measures the service with several settings, each after a restart of the model server: a
service that it starts itself with the stand-in, or the one running at `--url`, whose model server `--restart` restarts
with the file just written. Of the settings whose 99th percentile of the latency is within `--p99-ms`, it writes the one
with the most answers per second. With its own service it measures no batching, too, and writes nothing if that is best.
"""

import argparse
import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from gateway.models.configured import ModelsConfigError
from tools import tensorflow_extra
from tools.load_generator import ImageRequests, LoadGenerator, LoadResult
from tools.local_stack import COMMITTED_MODELS, START_S, LocalStack, status
from tools.models_config import list_golden_images
from tools.programs import ROOT
from tools.stack import ProgramEndedError, StopRequestedError
from tools.tensorflow_extra import TensorFlowError
from tools.waiting import wait_until

READY_POLL_S = 0.2
WARM_UP_SHARE = 0.2
# Calls may have more images than a batch: the model server splits them.
MAX_BATCH_SIZE = 128
MAX_QUEUED_IMAGES = 4096


class TuneError(Exception):
    """No setting can be written; the message says why."""


FAILURES = (
    TuneError,
    ModelsConfigError,
    TensorFlowError,
    ProgramEndedError,
    StopRequestedError,
    TimeoutError,
    subprocess.CalledProcessError,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Parameters of batching.

    Attributes:
        images: Largest number of images in a batch.
        wait_us: Microseconds that a call waits for others.
    """

    images: int
    wait_us: int

    def to_text(self, note: str) -> str:
        """Return BatchingParameters in text format, with a comment at the top."""
        return (
            f"# {note}\n"
            f"max_batch_size {{ value: {MAX_BATCH_SIZE} }}\n"
            "enable_large_batch_splitting { value: true }\n"
            f"max_execution_batch_size {{ value: {self.images} }}\n"
            f"batch_timeout_micros {{ value: {self.wait_us} }}\n"
            f"max_enqueued_batches {{ value: {MAX_QUEUED_IMAGES // self.images} }}\n"
        )


OFF = Setting(0, 0)
"""No batching: each call is computed separately."""
SETTINGS = (Setting(1, 0), Setting(8, 0), Setting(32, 0), Setting(32, 1000), Setting(32, 5000), Setting(128, 10000))


def choose(results: Mapping[Setting, LoadResult], p99_ms: float) -> Setting | None:
    """Return the setting with the most answers per second among those without failures and within the target."""
    rates = {
        setting: load.rate()
        for setting, load in results.items()
        if not load.failures and load.percentile_ms(99) <= p99_ms
    }
    return max(rates, key=lambda setting: rates[setting], default=None)


@contextlib.contextmanager
def run_service(options: argparse.Namespace, setting: Setting) -> Iterator[str]:
    """Restart the service at `--url` with a setting, or start one while the context lasts; yield its URL.

    The model server reads the setting from the file of `--output`.

    Raises:
        CalledProcessError: The restart command failed.
        ProgramEndedError: A program of the service ended by itself.
        TimeoutError: The service was not ready in time.
    """
    if setting != OFF:
        options.output.write_text(setting.to_text("Being measured by `make tune`."), encoding="utf-8")
    if options.url:
        restart(options.url, options.restart)
        yield options.url
        return
    batching_config = None if setting == OFF else options.output.absolute()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder), batching_config=batching_config, supervised=True) as stack,
    ):
        yield stack.start().url


def restart(url: str, command: str) -> None:
    """Restart the model server of the service at a URL, and wait until the service is ready again.

    Raises:
        CalledProcessError: The command failed.
        TimeoutError: The service was not ready in time.
    """
    subprocess.run(shlex.split(command), check=True, timeout=START_S)

    def is_ready() -> bool:
        return status(f"{url}/readyz") == HTTPStatus.OK

    wait_until(is_ready, START_S, f"{url} is ready after the restart", poll_s=READY_POLL_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the best setting; return the exit status, 1 if none is good enough."""
    options = _parse(arguments)
    before = options.output.read_text(encoding="utf-8") if options.output.exists() else None
    try:
        if not options.url:
            tensorflow_extra.ensure(tensorflow_extra.find_models(COMMITTED_MODELS))
        best = tune(options)
    except FAILURES as error:
        _restore(options.output, before)
        print(f"{options.output} is unchanged: {error}", file=sys.stderr)
        return 1
    if best == OFF:
        _restore(options.output, before)
        print(f"Do not batch: leave BATCHING_CONFIG unset. {options.output} is unchanged.")
    else:
        print(f"{options.output}: {_describe(best)}. It takes effect when the model server is restarted with it.")
    return 0


def tune(options: argparse.Namespace) -> Setting:
    """Measure every setting, write the best one to the file if that batches, and return it.

    Raises:
        TuneError: The model has no golden images, or no setting is within the target.
        ProgramEndedError, CalledProcessError, TimeoutError: The service could not be started with one of the settings.
        StopRequestedError: A signal was received.
    """
    golden = ROOT / "serving_models" / options.model
    images = [file.read_bytes() for file in list_golden_images(golden, "*/")]
    if not images:
        raise TuneError(f"there are no golden images in {golden}. Choose another model with --model.")
    results = {}
    for setting in SETTINGS if options.url else (OFF, *SETTINGS):
        with run_service(options, setting) as url:
            load = LoadGenerator(
                ImageRequests(f"{url}/api/v1/models/{options.model}/predict", images).connect, users=options.concurrency
            )
            results[setting] = load.run(options.seconds, warm_up_s=WARM_UP_SHARE * options.seconds)
        print(f"{_describe(setting)}: {_figures(results[setting])}", flush=True)
    best = choose(results, options.p99_ms)
    if best is None:
        raise TuneError(f"no setting keeps 99 % of the answers within {options.p99_ms:g} ms.")
    if best != OFF:
        options.output.write_text(best.to_text(_note(options, results[best])), encoding="utf-8")
    return best


def _note(options: argparse.Namespace, result: LoadResult) -> str:
    return (
        f"Written by `make tune` for {options.model}, {options.concurrency} requests at a time, and 99 % of the\n"
        f"# answers within {options.p99_ms:g} ms: {result.rate():.0f} answers per second, "
        f"99 % within {result.percentile_ms(99):.0f} ms."
    )


def _restore(file: Path, text: str | None) -> None:
    """Give a file the text that it had; None if it did not exist."""
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(text, encoding="utf-8")


def _describe(setting: Setting) -> str:
    return "no batching" if setting == OFF else f"batches of up to {setting.images}, wait {setting.wait_us} us"


def _figures(result: LoadResult) -> str:
    p50_ms, p99_ms = (result.percentile_ms(percent) for percent in (50, 99))
    return (
        f"{result.rate():.1f} answers per second, 50 % within {p50_ms:.1f} ms, 99 % within {p99_ms:.1f} ms, "
        f"{result.failures} failed"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.tune", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--p99-ms", type=float, default=200, help="target of the 99th percentile (%(default)s)")
    parser.add_argument("--model", default="cifar10", help="model to measure, with golden images (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="duration of each measurement (%(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "serving_models" / "batching.config", metavar="FILE")
    parser.add_argument("--url", help="URL of a running service that reads FILE")
    parser.add_argument("--restart", help="command that restarts its model server")
    options = parser.parse_args(arguments)
    if bool(options.url) != bool(options.restart):
        parser.error("--url and --restart must be used together")
    return options


if __name__ == "__main__":
    sys.exit(main())
