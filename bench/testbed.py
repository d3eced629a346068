"""Start everything that `python -m bench` measures side by side: the stack in its variants and alternatives to it."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import network, served_models
from bench.alternatives.engine import KERAS, ONNX, OPENVINO_INT8_FILE
from bench.served_models import COMMITTED, Form
from bench.services import (
    GATEWAY,
    PATIENCE,
    PYTHON,
    Service,
    WholeStack,
    make_program,
    start_service,
    start_whole_stack,
)
from tools import ports
from tools.programs import ROOT
from tools.stack import Stack

BATCHING = ROOT / "serving_models" / "batching" / "balanced.config"
OURS, FLOAT32, SAVED_MODEL = "Image Gateway, int8", "Image Gateway, float32", "Image Gateway, SavedModel"
BATCHED = ", batching"
FORMS: Mapping[str, Form] = {OURS: "int8", FLOAT32: "float32", SAVED_MODEL: "none"}
"""The forms of MobileNetV2 that the stack serves, by its name in the tables."""
MAX_BATCH = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine behind FastAPI.

    Attributes:
        module: Name of its module in `bench.alternatives`.
        file: Name of the network's file.
        max_batches: The largest numbers of images in a call that are measured; 1 is without batching.
    """

    module: str
    file: str
    max_batches: tuple[int, ...] = (1, MAX_BATCH)


OPENVINO, OPENVINO_INT8, ONNXRUNTIME = "FastAPI + OpenVINO", "FastAPI + OpenVINO int8", "FastAPI + ONNX Runtime"
FASTAPI_KERAS, FLASK_KERAS, TUTORIAL = "FastAPI + Keras", "Flask + Keras", "tutorial's gateway"
ENGINES = {
    OPENVINO_INT8: Engine("openvino_engine", OPENVINO_INT8_FILE),
    OPENVINO: Engine("openvino_engine", ONNX),
    ONNXRUNTIME: Engine("onnxruntime_engine", ONNX),
    FASTAPI_KERAS: Engine("keras_engine", KERAS, (1,)),
}


@dataclass(frozen=True, slots=True)
class Testbed:
    """The running programs.

    Attributes:
        stack: Starts and stops them.
        folder: Folder for logs and other files.
        variants: The stack by form and batching. `OURS` is as deployed and also serves copies of the committed
            models, which may be changed.
        alternatives: The alternatives to the stack, by name.
    """

    stack: Stack
    folder: Path
    variants: Mapping[str, WholeStack]
    alternatives: Mapping[str, Service]

    @property
    def ours(self) -> WholeStack:
        """The stack as deployed."""
        return self.variants[OURS]

    @contextlib.contextmanager
    def run_gateway(
        self, *, target: str | None = None, settings: Mapping[str, str] | None = None, workers: int = 1
    ) -> Iterator[Service]:
        """Run one more gateway while the context lasts, in front of this or another model server."""
        address = f"127.0.0.1:{ports.find(1)[0]}"
        environment = {
            "GATEWAY_BIND": address,
            "GATEWAY_WORKERS": str(workers),
            "GATEWAY_TFS_TARGET": target or self.ours.model_server.address,
            "GATEWAY_MODELS_CONFIG": str(self.ours.models / "models.config"),
            "GATEWAY_DEFAULT_MODEL": "digits",
            **PATIENCE,
            **(settings or {}),
        }
        command = (*PYTHON, "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
        program, url = make_program(f"gateway-{address[-5:]}", command, environment), f"http://{address}"
        yield start_service(self.stack, program, f"{url}/readyz", name=GATEWAY, address=url)
        self.stack.stop(program.name)


@contextlib.contextmanager
def start_testbed(folder: Path, weights: str | None) -> Iterator[Testbed]:
    """Start everything while the context lasts.

    Args:
        folder: Folder for models, logs and other files.
        weights: File with weights of MobileNetV2; None for random ones.

    Raises:
        ProgramEndedError: A program ended by itself.
        TimeoutError: A program was not ready in time.
    """
    served_models.prepare_network(folder, weights)
    served_models.convert_network(folder)
    with Stack(folder) as stack:
        variants: dict[str, WholeStack] = {}
        for name, form in FORMS.items():
            models = _prepare_models(folder, form, committed=COMMITTED if name == OURS else ())
            for suffix, batching in (("", None), (BATCHED, BATCHING)):
                program = f"stack-{form}{'-batching' if batching else ''}"
                variants[name + suffix] = start_whole_stack(
                    stack, program, models, folder=folder, batching_config=batching
                )
        saved_model = variants[SAVED_MODEL].model_server
        alternatives = _start_alternatives(stack, folder, saved_model.address)
        yield Testbed(stack, folder, variants, alternatives)


def _prepare_models(folder: Path, form: Form, committed: tuple[str, ...]) -> Path:
    """Return the folder with MobileNetV2 in a form, and copies of committed models."""
    models = folder / f"models-{form}"
    served_models.export_network(folder, models, form)
    if committed:
        served_models.copy_committed(models)
    served_models.write_config(models, (*committed, network.NAME))
    return models


def _start_alternatives(stack: Stack, folder: Path, target: str) -> Mapping[str, Service]:
    services = {}
    for name, arguments, variables in _list_alternatives(folder, target):
        (port,) = ports.find(1)
        url = f"http://127.0.0.1:{port}"
        command = (*PYTHON, *(argument.format(port=port) for argument in arguments))
        program = make_program(re.sub(r"[^a-z0-9]+", "-", name.lower()), command, variables)
        services[name] = start_service(stack, program, f"{url}/ready", name=name, address=url)
    return services


def _list_alternatives(folder: Path, target: str) -> Iterator[tuple[str, Sequence[str], Mapping[str, str]]]:
    """Yield name, arguments for Python and environment of each alternative.

    Each is one process: its engine uses all processors by itself, and a second copy would only compete for them.
    """
    uvicorn = ("uvicorn", "--no-access-log", "--port={port}", "bench.alternatives.fastapi_app:app")
    for name, engine in ENGINES.items():
        for max_batch in engine.max_batches:
            yield (
                name + (BATCHED if max_batch > 1 else ""),
                uvicorn,
                {
                    "BENCH_ENGINE": engine.module,
                    "BENCH_NETWORK": str(folder / engine.file),
                    "BENCH_MAX_BATCH": str(max_batch),
                    "TF_NUM_INTRAOP_THREADS": "1",  # as the other engines
                },
            )
    gthread = ("--worker-class=gthread", "--threads=8", "--no-control-socket", "--bind=127.0.0.1:{port}")
    flask = ("gunicorn", *gthread, "bench.alternatives.flask_keras:app")
    yield FLASK_KERAS, flask, {"BENCH_NETWORK": str(folder / KERAS)}
    yield TUTORIAL, ("bench.alternatives.tutorial_gateway", "{port}"), {"BENCH_TARGET": target}
