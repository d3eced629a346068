"""The programs of the local stack: how each is started and stopped."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.runtime.malloc import ARENAS, LARGE_BLOCK_BYTES, RETAINED_BYTES
from gateway.settings import Settings
from tools import nginx
from tools.stack import Program

ROOT = Path(__file__).parents[1]
# The model server rejects calls near its limit instead of queueing them, so the limit is well above what can arrive.
GRPC_THREADS_PER_REQUEST = 2
# With one, a worker that gets most of the connections would use one processor while the others stay idle.
CALLS_IN_FLIGHT = 2
CONFIG_POLL_S = 1
LOAD_RETRY_INTERVAL_MICROS = 1_000_000
MONITORING_CONFIG = ROOT / "serving_models" / "monitoring.config"
MODEL_SERVER_STOP_S = 10.0
# The gateway's settings of glibc, as environment variables: freed blocks of 4 MiB are returned at once, of smaller ones
# 8 MiB are retained at the end of each of two arenas. After large requests of 16 clients, twice the memory remained
# without.
MALLOC = {
    "MALLOC_ARENA_MAX": str(ARENAS),
    "MALLOC_MMAP_THRESHOLD_": str(LARGE_BLOCK_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(RETAINED_BYTES),
}
# macOS ends a forked process, as gunicorn's workers are, when one of its frameworks was in use at the fork.
FORKING = {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
STOP_SLACK_S = 2.0
# Each gateway worker connects to the model server by itself and retries a refused connection after up to 0.36 s (gRPC's
# backoff with jitter). Once /readyz has answered 200 for longer than that, every worker answers.
STEADY_S = 0.6
ANSWER_AT_LOCALHOST = frozenset({"127.0.0.1", "0.0.0.0", "::", "localhost"})  # noqa: S104  # nothing binds to it here


@dataclass(frozen=True, slots=True)
class Options:
    """Where the stack listens, what it serves and where it writes.

    Attributes:
        host: Address on which the outermost program listens.
        port: Port of nginx, or of the gateway without nginx.
        gateway_port: Port of the gateway behind nginx, on 127.0.0.1.
        grpc_port: gRPC port of the model server.
        rest_port: REST port of the model server.
        models_config: The model server's configuration file, absolute.
        run_dir: Folder for everything that the run writes, absolute.
        ready_timeout_s: Time limit for the start.
        use_nginx: Whether nginx is put in front of the gateway.
        batching_config: File with BatchingParameters, absolute; None if the model server computes each call separately.
        tls_dir: Folder with the certificate for HTTPS, absolute; None for plain HTTP.
        model_server_host: IPv4 address on which the model server listens, with both ports.
        shows_requests: Whether a line is printed for each request.
        jobs_dir: Folder of the jobs, absolute; None for none, unless the environment has settings of them.
    """

    host: str
    port: int
    gateway_port: int
    grpc_port: int
    rest_port: int
    models_config: Path
    run_dir: Path
    ready_timeout_s: float
    use_nginx: bool
    tls_dir: Path | None = None
    batching_config: Path | None = None
    model_server_host: str = "127.0.0.1"
    shows_requests: bool = True
    jobs_dir: Path | None = None

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.run_dir / "logs"

    @property
    def address(self) -> str:
        """Address and port on which the outermost program listens."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """URL of the outermost program for this machine."""
        authority = f"localhost:{self.port}" if self.host in ANSWER_AT_LOCALHOST else self.address
        return f"{'https' if self.tls_dir else 'http'}://{authority}"

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports by the variable of `make run` that sets each."""
        ports = {"PORT": self.port, "GRPC_PORT": self.grpc_port, "REST_PORT": self.rest_port}
        return {**ports, "GATEWAY_PORT": self.gateway_port} if self.use_nginx else ports


def model_server(options: Options, settings: Settings) -> Program:
    """Return the stand-in for TensorFlow Serving."""
    batching = ("--enable_batching=true", f"--batching_parameters_file={options.batching_config}")
    return Program(
        name="model-server",
        command=(
            *(sys.executable, "-m", "model_server"),
            f"--host={options.model_server_host}",
            f"--port={options.grpc_port}",
            f"--rest_api_port={options.rest_port}",
            f"--model_config_file={options.models_config}",
            # Otherwise a file with labels is rejected at the start, while no version is loaded yet.
            "--allow_version_labels_for_unavailable_models=true",
            f"--model_config_file_poll_wait_seconds={CONFIG_POLL_S}",
            "--prefer_tflite_model=true",
            # A model that cannot be loaded keeps no other one from being served; a mended one is loaded.
            "--wait_for_models=false",
            "--max_num_load_retries=2",
            f"--load_retry_interval_micros={LOAD_RETRY_INTERVAL_MICROS}",
            f"--grpc_max_threads={GRPC_THREADS_PER_REQUEST * settings.workers * settings.threads}",
            "--tensorflow_intra_op_parallelism=1",  # concurrent calls use the processors with less overhead
            f"--monitoring_config_file={MONITORING_CONFIG}",
            *(batching if options.batching_config else ()),
        ),
        directory=ROOT,
        environment={**MALLOC, **os.environ},
        stop_timeout_s=MODEL_SERVER_STOP_S,
    )


def gateway(options: Options, settings: Settings, scratch: Path, *, direct: bool) -> Program:
    """Return the gateway: behind nginx on its own port, or `direct` on the outer port."""
    bind = options.address if direct else f"127.0.0.1:{options.gateway_port}"
    return Program(
        name="gateway",
        command=(sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app"),
        directory=ROOT,
        environment={
            **gateway_environment(options),
            "GATEWAY_BIND": bind,
            **({} if direct else {"GATEWAY_TRUSTED_PROXIES": "1"}),
            "PROMETHEUS_MULTIPROC_DIR": str(scratch / "metrics"),
        },
        stop_timeout_s=settings.drain_delay_s + settings.graceful_timeout_s + STOP_SLACK_S,
    )


def jobs_worker(options: Options, settings: Settings) -> Program:
    """Return the worker of jobs, which is started again if it ends."""
    return Program(
        name="jobs-worker",
        command=(sys.executable, "-m", "gateway.jobs.worker"),
        directory=ROOT,
        environment=gateway_environment(options),
        stop_timeout_s=settings.graceful_timeout_s + STOP_SLACK_S,
        restarts=True,
    )


def nginx_proxy(
    options: Options, settings: Settings, scratch: Path, executable: str, own_values: Mapping[str, str] | None = None
) -> Program:
    """Write nginx's configuration and return nginx.

    Values of nginx/defaults.env are overridden by environment variables, and those by `own_values`.

    Raises:
        TlsError: The folder `tls_dir` has no certificate.
    """
    configuration = scratch / "nginx.conf"
    max_requests = settings.workers * settings.places
    environment = {**os.environ, **(own_values or {})}
    values = {
        "NGINX_MAX_REQUESTS": str(max_requests),
        **{name: environment[name] for name in nginx.defaults() if name in environment},
    }
    own = {
        **nginx.listen_values(options.address, options.tls_dir, executable),
        "NGINX_UPSTREAM": f"127.0.0.1:{options.gateway_port}",
        "GATEWAY_MAX_BODY_BYTES": str(settings.max_body_bytes),
        "GATEWAY_JOBS_MAX_BYTES": str(settings.jobs_max_bytes),
    }
    configuration.write_text(nginx.render({**values, **own}), encoding="utf-8")
    return Program(
        name="nginx",
        command=nginx.command(executable, configuration),
        directory=ROOT,
        environment={**os.environ, "TZ": "UTC"},  # as the logs of the other programs
        stop_signal=signal.SIGQUIT,  # lets requests in progress finish
        stop_timeout_s=settings.request_deadline_s + STOP_SLACK_S,
    )


def gateway_environment(options: Options) -> dict[str, str]:
    """Return the environment of the gateway: the caller's own settings and the addresses of the other programs.

    Requests are batched once, either by the model server or by the gateway.
    """
    return {
        **(FORKING if sys.platform == "darwin" else {}),
        "GATEWAY_CARDS_DIR": str(options.models_config.parent),
        "GATEWAY_CALLS_IN_FLIGHT": "0" if options.batching_config else str(CALLS_IN_FLIGHT),
        **({"GATEWAY_JOBS": "sqlite", "GATEWAY_JOBS_DIR": str(options.jobs_dir)} if options.jobs_dir else {}),
        **os.environ,
        "GATEWAY_TFS_TARGET": f"127.0.0.1:{options.grpc_port}",
        "GATEWAY_MODELS_CONFIG": str(options.models_config),
    }
