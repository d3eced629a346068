"""Copy the proto modules that `tfs_api.protos` imports from the installed TensorFlow to tfs_api/_generated.

    python -m tools.vendor_protos           # write them
    python -m tools.vendor_protos --check   # exit 1 and name what differs

Which ones they are follows from the import statements, starting at tfs_api/protos.py. Neither TensorFlow
nor the copied modules are executed.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from tfs_api.versions import installed_versions

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
    seen: set[Path] = set()
    waiting = list(imported_files(PROTOS, packages))
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported_files(packages / file, packages)
    return {file: (packages / file).read_bytes() for file in seen if file.parts[0] == "tensorflow"}


def version_file() -> Mapping[Path, bytes]:
    """Return path and content of the module that records the version of the installed TensorFlow."""
    versions = installed_versions()
    version = versions.get("tensorflow") or versions["tensorflow-cpu"]
    return {Path("version.py"): f'TENSORFLOW = "{version}"\n'.encode()}


def vendored_files() -> Mapping[Path, bytes]:
    """Return path and content of each module in the repository, relative to `VENDORED`."""
    return {file.relative_to(VENDORED): file.read_bytes() for file in VENDORED.rglob("*.py")}


def differences(needed: Mapping[Path, bytes], vendored: Mapping[Path, bytes]) -> list[str]:
    """Describe how the repository differs from the installed TensorFlow, a line per file."""
    lines = []
    for file in sorted(needed.keys() | vendored.keys()):
        if file not in vendored:
            lines.append(f"missing: {file}")
        elif file not in needed:
            lines.append(f"no longer needed: {file}")
        elif needed[file] != vendored[file]:
            lines.append(f"differs: {file}")
    return lines


def write(needed: Mapping[Path, bytes], vendored: Mapping[Path, bytes]) -> None:
    """Make the repository's copy equal to `needed`."""
    for file in vendored.keys() - needed.keys():
        (VENDORED / file).unlink()
    for file, content in needed.items():
        (VENDORED / file).parent.mkdir(parents=True, exist_ok=True)
        (VENDORED / file).write_bytes(content)


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    check = parser.parse_args().check
    needed, vendored = {**needed_files(site_packages()), **version_file()}, vendored_files()
    lines = differences(needed, vendored)
    print("\n".join(lines) or f"{VENDORED.relative_to(ROOT)}: {len(needed)} modules, up to date")
    if check:
        if lines:
            print("Copy them again: python -m tools.vendor_protos", file=sys.stderr)
        return bool(lines)
    write(needed, vendored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
