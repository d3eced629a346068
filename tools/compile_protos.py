"""Compile model_server/protos/*.proto to the `_pb2.py` modules and `.pyi` stubs beside them.

    python -m tools.compile_protos           # write them
    python -m tools.compile_protos --check   # exit 1 and name what differs

protoc comes from the pinned grpcio-tools, so its output is the same on every machine.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

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


def outdated(compiled: Mapping[Path, bytes], root: Path = ROOT) -> list[str]:
    """Describe each generated file that differs from `compiled`, is missing or no longer has a source."""
    existing = {file.relative_to(root): file.read_bytes() for file in (root / PROTOS).glob("*_pb2.py*")}
    differing = [f"outdated: {file}" for file, content in compiled.items() if existing.get(file) != content]
    orphaned = [f"no longer needed: {file}" for file in existing.keys() - compiled.keys()]
    return sorted(differing + orphaned)


def write(compiled: Mapping[Path, bytes], root: Path = ROOT) -> None:
    """Make the generated files of the repository equal to `compiled`."""
    for file in (root / PROTOS).glob("*_pb2.py*"):
        file.unlink()
    for file, content in compiled.items():
        (root / file).write_bytes(content)


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    check = parser.parse_args().check
    compiled = compile_protos()
    differences = outdated(compiled)
    print("\n".join(differences) or f"{PROTOS}: {len(compiled)} files, up to date")
    if not check:
        write(compiled)
    elif differences:
        print("Regenerate them: python -m tools.compile_protos", file=sys.stderr)
    return int(check and bool(differences))


if __name__ == "__main__":
    sys.exit(main())
