"""Compile model_server/protos/*.proto to the `_pb2.py` modules and `.pyi` stubs beside them.

    python -m tools.compile_protos           # write them
    python -m tools.compile_protos --check   # exit 1 and name what differs

protoc comes from the pinned grpcio-tools, so its output is the same on every machine.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tools import generated_files

ROOT = Path(__file__).parents[1]
PROTOS = Path("model_server", "protos")


def compile_protos(root: Path = ROOT) -> Mapping[Path, bytes]:
    """Return path, relative to `root`, and content of each module that protoc generates from the sources.

    Raises:
        SystemExit: A source is not valid; protoc has printed why.
    """
    sources = [str(file.relative_to(root)) for file in sorted((root / PROTOS).glob("*.proto"))]
    with TemporaryDirectory() as folder:
        # In a process of its own: its libraries and those of TensorFlow or gRPC crash when one process loads both.
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={root}"]
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
        if subprocess.run([*protoc, *outputs, *sources], cwd=root, check=False).returncode:
            raise SystemExit(f"protoc failed on {', '.join(sources)}")
        return {file.relative_to(folder): file.read_bytes() for file in Path(folder).rglob("*_pb2.py*")}


def existing_files(root: Path = ROOT) -> list[Path]:
    """Return the generated files of the repository, relative to `root`."""
    return [file.relative_to(root) for file in (root / PROTOS).glob("*_pb2.py*")]


def main() -> int:
    """Write or check; return the exit status."""
    check = generated_files.parse_check("tools.compile_protos", __doc__)
    return generated_files.update("tools.compile_protos", compile_protos(), ROOT, existing_files(), check=check)


if __name__ == "__main__":
    sys.exit(main())
