"""Copy the proto modules that `tfs_api.protos` imports from the installed TensorFlow to tfs_api/_generated.

    python -m tools.vendor_protos           # write them
    python -m tools.vendor_protos --check   # exit 1 and name what differs

They are found by following the import statements, starting at tfs_api/protos.py. Neither TensorFlow nor the copied
modules are executed.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from tfs_api.versions import installed_versions
from tools import generated_files

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "tfs_api" / "protos.py"
VENDORED = ROOT / "tfs_api" / "_generated"


def site_packages() -> Path:
    """Return the folder in which TensorFlow and the TensorFlow Serving API are installed.

    Raises:
        SystemExit: One of them is not installed, or they are in different folders.
    """
    folders = set()
    for package in ("tensorflow", "tensorflow_serving"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; install the development environment: make test")
        folders.add(Path(spec.origin).parents[1])
    if len(folders) > 1:
        raise SystemExit(
            f"tensorflow and tensorflow_serving are installed in different folders: {sorted(map(str, folders))}"
        )
    return folders.pop()


def imported_files(source: Path, packages: Path) -> Iterator[Path]:
    """Yield the proto modules below `packages` that `source` imports, relative to `packages`."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tensorflow"):
            folder = Path(*(node.module or "").split("."))
            candidates = [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
            yield from (file for file in candidates if (packages / file).is_file())


def needed_files(packages: Path) -> Mapping[Path, bytes]:
    """Return path and content of each TensorFlow module that `tfs_api.protos` imports, however indirectly."""
    files: set[Path] = set()
    pending = list(imported_files(PROTOS, packages))
    while pending:
        file = pending.pop()
        if file not in files:
            files.add(file)
            pending += imported_files(packages / file, packages)
    return {file: (packages / file).read_bytes() for file in files if file.parts[0] == "tensorflow"}


def version_file() -> Mapping[Path, bytes]:
    """Return path and content of the module that records the version of the installed TensorFlow."""
    versions = installed_versions()
    version = versions.get("tensorflow") or versions["tensorflow-cpu"]
    return {Path("version.py"): f'TENSORFLOW = "{version}"\n'.encode()}


def vendored_files() -> list[Path]:
    """Return the modules in the repository, relative to `VENDORED`."""
    return [file.relative_to(VENDORED) for file in VENDORED.rglob("*.py")]


def main() -> int:
    """Write or check; return the exit status."""
    check = generated_files.parse_check("tools.vendor_protos", __doc__)
    expected = {**needed_files(site_packages()), **version_file()}
    return generated_files.update("tools.vendor_protos", expected, VENDORED, vendored_files(), check=check)


if __name__ == "__main__":
    sys.exit(main())
