"""Take out of an environment what the gateway never runs; gateway/Dockerfile calls this when it has installed one.

    python tools/slim.py /opt/venv

It needs nothing but Python, and Python's bytecode compiled: that is kept in place of the source it came from. A
traceback still names file, line and function of a library; the text of the line it does not show.
"""

import argparse
import importlib.util
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

NEVER_RUN = {
    "**/tests": "tests of the packages themselves",
    "**/*.pyi": "types, for checkers",
    "**/*.pxd": "declarations, for compilers",
    "**/*.[ch]": "sources of what came compiled",
    "cv2/LICENSE*.txt": "the same text as in opencv_python_headless-*.dist-info",
    "cv2/data": "cascades that find faces",
    "grpc/_cython/_credentials": "authorities for TLS; the model server is asked without",
    "numpy/_core/_*tests.*.so": "what only numpy's tests call",
    "numpy/_core/_simd.*.so": "the same; numpy's own vector code is in _multiarray_umath",
    "numpy/_core/include": "headers",
    "numpy/_core/lib": "a library to link with, and scripts for that",
    "numpy/distutils": "builds extensions; from Python 3.12 on it is not there",
    "numpy/f2py": "makes extensions out of Fortran",
    # numpy loads these when they are first asked for, which nothing here does. numpy/ma is not among them: numpy.median
    # looks into it.
    "numpy/fft": "Fourier transforms",
    "numpy/polynomial": "polynomials",
    "numpy/random": "random numbers",
    "numpy/testing": "help for tests",
    "pydantic/v1": "version 1 of pydantic, for programs that were written for it",
}
"""Patterns below site-packages, and why they can go."""

READ_BY_PATH = ("cv2/config*.py",)
"""Sources that their package reads by itself, without an import."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Slim the environment that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path)
    environment: Path = parser.parse_args(arguments).environment
    (packages,) = environment.glob("lib/python3*/site-packages")
    remove(packages, NEVER_RUN)
    keep_bytecode(packages, READ_BY_PATH)


def remove(packages: Path, patterns: Iterable[str]) -> None:
    """Remove what the patterns find."""
    for path in [path for pattern in patterns for path in packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # a folder around it may have gone first


def keep_bytecode(packages: Path, read_by_path: Iterable[str]) -> None:
    """Put bytecode where its source is, as Python expects it of modules without source (PEP 3147)."""
    kept = {path for pattern in read_by_path for path in packages.glob(pattern)}
    for source in packages.rglob("*.py"):
        bytecode = Path(importlib.util.cache_from_source(str(source)))
        if bytecode.exists() and source not in kept:
            bytecode.replace(source.with_suffix(".pyc"))
            source.unlink()
    for folder in packages.rglob("__pycache__"):
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
