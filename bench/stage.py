"""All that is measured, started beside each other: the stack, and what one would run in its place."""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import network
from bench.services import ROOT, Service, await_ok, run, running
from tools import nginx, ports

BATCHING = ROOT / "serving_models" / "batching.config"
COMMITTED = ("cifar10", "digits")
WAITS = ("GATEWAY_MAX_WAIT_S", "GATEWAY_MODEL_DEADLINE_S", "GATEWAY_REQUEST_DEADLINE_S", "GATEWAY_WORKER_TIMEOUT_S")
PATIENCE_S = "30"
GUNICORN = (sys.executable, "-m", "gunicorn")


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and where.

    Attributes:
        folder: For logs and the like.
        models: Folder of the models served, of which copies of their own may be changed.
        server: The model server, with batching.
        grpc: Its gRPC address.
        gateway: Two workers.
        nginx: In front of them.
        url: Where nginx listens.
        single: A gateway of one worker, with nothing in front.
        single_url: Where that listens.
        others: The alternatives, each with its address, by name.
    """

    folder: Path
    models: Path
    server: Service
    grpc: str
    gateway: Service
    nginx: Service
    url: str
    single: Service
    single_url: str
    others: Mapping[str, tuple[Service, str]]


def prepare(folder: Path, weights: str | None) -> Path:
    """Write the models that are served, where an earlier run has not, and return their folder."""
    models = folder / "models"
    if not (models / network.NAME / "1").is_dir():
        written: list[str | Path] = [folder, weights] if weights else [folder]
        run(["-m", "bench.network", *written], folder / "prepare.log")
        command: list[str | Path] = [
            "-m",
            "train",
            "import-keras",
            folder / "network.keras",
            "--card",
            folder / "card.json",
        ]
        run([*command, "--pictures", folder / "pictures", "--models", models], folder / "prepare.log")
    for name in COMMITTED:  # as copies, since versions are added to one of them
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(ROOT / "serving_models" / name, models / name)
    configs = "".join(
        f'  config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n'
        for name in (*COMMITTED, network.NAME)
    )
    (models / "models.config").write_text(f"model_config_list {{\n{configs}}}\n", encoding="utf-8")
    return models


@contextlib.contextmanager
def staged(folder: Path, weights: str | None) -> Iterator[Stage]:
    """Start everything, and stop it in the end."""
    models = prepare(folder, weights)
    with contextlib.ExitStack() as held:
        server, grpc = held.enter_context(_model_server(folder, models))
        gateway, gateway_url = held.enter_context(gateway_on(folder, grpc, models, workers=2))
        single, single_url = held.enter_context(gateway_on(folder, grpc, models, workers=1))
        front, url = held.enter_context(_nginx(folder, gateway_url))
        others = {name: held.enter_context(other) for name, other in _others(folder, grpc).items()}
        yield Stage(folder, models, server, grpc, gateway, front, url, single, single_url, others)


@contextlib.contextmanager
def gateway_on(
    folder: Path, target: str, models: Path, *, workers: int, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Service, str]]:
    """Run a gateway on a free port until the end of the context; further settings may be given."""
    address = f"127.0.0.1:{ports.find(1)[0]}"
    environment = {
        "GATEWAY_BIND": address,
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_TFS_TARGET": target,
        "GATEWAY_MODELS_CONFIG": str(models / "models.config"),
        "GATEWAY_DEFAULT_MODEL": "digits",
        # It is measured what an answer costs; on a slow machine, too, none is to be refused.
        **dict.fromkeys(WAITS, PATIENCE_S),
        **(settings or {}),
    }
    command = (*GUNICORN, "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
    with running("gateway", command, folder / f"gateway-{workers}.log", environment) as service:
        await_ok(service, f"http://{address}/readyz")
        yield service, f"http://{address}"


@contextlib.contextmanager
def _model_server(folder: Path, models: Path) -> Iterator[tuple[Service, str]]:
    grpc, rest = ports.find(2)
    command = (
        *(sys.executable, "-m", "model_server", f"--port={grpc}", f"--rest_api_port={rest}"),
        f"--model_config_file={models / 'models.config'}",
        *("--enable_batching", f"--batching_parameters_file={BATCHING}", "--grpc_max_threads=64"),
        "--tensorflow_intra_op_parallelism=1",
    )
    with running("model server", command, folder / "model-server.log") as service:
        await_ok(service, f"http://127.0.0.1:{rest}/v1/models/{network.NAME}")
        yield service, f"127.0.0.1:{grpc}"


@contextlib.contextmanager
def _nginx(folder: Path, upstream: str) -> Iterator[tuple[Service, str]]:
    """Run nginx in front of a gateway.

    Raises:
        FileNotFoundError: it is not installed.
    """
    program = nginx.find()
    if program is None:
        raise FileNotFoundError("nginx is needed: apt-get install nginx-light")
    listen = f"127.0.0.1:{ports.find(1)[0]}"
    own = {"NGINX_LISTEN": listen, "NGINX_UPSTREAM": upstream.removeprefix("http://")}
    configuration = folder / "nginx.conf"
    configuration.write_text(nginx.render({**own, "GATEWAY_MAX_BODY_BYTES": str(10 * 1024 * 1024)}), encoding="utf-8")
    with running("nginx", nginx.command(program, configuration), folder / "nginx.log") as service:
        await_ok(service, f"http://{listen}/readyz")
        yield service, f"http://{listen}"


def _others(folder: Path, grpc: str) -> Mapping[str, contextlib.AbstractContextManager[tuple[Service, str]]]:
    flask, fastapi, tutorial = ports.find(3)
    # One process: TensorFlow computes on all processors by itself, and a second copy only fights for them.
    gthread = ("--worker-class=gthread", "--threads=8", "--no-control-socket", f"--bind=127.0.0.1:{flask}")
    commands = {
        "Flask + Keras": (flask, (*GUNICORN, *gthread, "bench.alternatives.flask_keras:app")),
        "FastAPI + Keras": (
            fastapi,
            (
                *(sys.executable, "-m", "uvicorn", "--no-access-log", f"--port={fastapi}"),
                "bench.alternatives.fastapi_keras:app",
            ),
        ),
        "tutorial's gateway": (tutorial, (sys.executable, "-m", "bench.alternatives.tutorial_gateway", str(tutorial))),
    }
    environment = {"BENCH_NETWORK": str(folder / "network.keras"), "BENCH_TARGET": grpc}
    tuned = {"FastAPI + Keras": {"TF_NUM_INTRAOP_THREADS": "1"}}  # as the stack's model server
    return {
        name: _other(name, folder, *command, environment | tuned.get(name, {})) for name, command in commands.items()
    }


@contextlib.contextmanager
def _other(
    name: str, folder: Path, port: int, command: tuple[str, ...], environment: Mapping[str, str]
) -> Iterator[tuple[Service, str]]:
    with running(name, command, folder / f"{name}.log", environment) as service:
        await_ok(service, f"http://127.0.0.1:{port}/ready")
        yield service, f"http://127.0.0.1:{port}"


def add_version(models: Path, model: str) -> int:
    """Publish the next version of a model, the same as the last; the model server takes it over by itself."""
    versions = sorted(int(path.name) for path in (models / model).iterdir() if path.name.isdecimal())
    number = versions[-1] + 1
    hidden = models / model / f".{number}"
    shutil.copytree(models / model / str(versions[-1]), hidden)
    hidden.rename(models / model / str(number))
    return number
