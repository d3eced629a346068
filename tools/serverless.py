"""Run gateway and model server in one container, for platforms that start containers on demand: deploy/serverless/.

    PORT=8080 python -m tools.serverless --models-config=serving_models/models.config

Both start at the same time and print to standard error. If one ends, the other is stopped. SIGTERM lets requests in
progress finish, those of the gateway first.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Not tools.programs: it imports the gateway's settings, which would delay the start of the model server by 0.2 s.
from tools.stack import Program, ProgramEndedError, StopRequestedError, Supervisor

ROOT = Path(__file__).parents[1]
DEFAULT_PORT = "8080"
# The model server rejects calls near its limit instead of queueing them: well above GATEWAY_WORKERS x GATEWAY_THREADS.
GRPC_MAX_THREADS = 256
# GATEWAY_GRACEFUL_TIMEOUT_S and the platform's limit are shorter.
STOP_S = 120.0


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run both until a signal is received.

    Args:
        arguments: The command line.
        environ: Environment of both programs. The gateway listens on `PORT`, on all interfaces.

    Returns:
        Exit status: 0 after a signal, 1 if one of them ended by itself.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.serverless", description=__doc__.split("\n", 1)[0])
    parser.add_argument("serve", nargs="?", choices=["serve"], help="ignored; SageMaker starts containers with it")
    parser.add_argument("--models-config", type=Path, default=Path("serving_models/models.config"), metavar="FILE")
    models_config = parser.parse_args(arguments).models_config.absolute()
    with tempfile.TemporaryDirectory(prefix="serverless-") as scratch, Supervisor(None) as stack:
        try:
            for program in programs(models_config, Path(scratch), environ):
                stack.start(program)
            stack.run()
        except StopRequestedError:
            return 0
        except ProgramEndedError as error:
            print(f"serverless: {error}", file=sys.stderr)
            return 1


def programs(models_config: Path, scratch: Path, environ: Mapping[str, str]) -> Iterator[Program]:
    """Yield both programs, the one that starts more slowly first.

    They communicate over a socket in `scratch`, so that only the gateway's port is open.
    """
    socket = f"unix:{scratch / 'model-server.sock'}"
    yield Program(
        name="model-server",
        command=(
            *(sys.executable, "-m", "model_server"),
            "--port=0",
            f"--grpc_socket_path={socket.removeprefix('unix:')}",
            f"--model_config_file={models_config}",
            "--allow_version_labels_for_unavailable_models=true",
            "--prefer_tflite_model=true",
            f"--grpc_max_threads={GRPC_MAX_THREADS}",
        ),
        directory=ROOT,
        environment=environ,
        stop_signal=signal.SIGTERM,
        stop_timeout_s=STOP_S,
    )
    yield Program(
        name="gateway",
        command=(sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app"),
        directory=ROOT,
        environment={
            "GATEWAY_CARDS_DIR": str(models_config.parent),
            **environ,
            "GATEWAY_BIND": f"*:{environ.get('PORT', DEFAULT_PORT)}",
            "GATEWAY_MODELS_CONFIG": str(models_config),
            "GATEWAY_TFS_TARGET": socket,
            "PROMETHEUS_MULTIPROC_DIR": str(scratch / "metrics"),
        },
        stop_signal=signal.SIGTERM,
        stop_timeout_s=STOP_S,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
