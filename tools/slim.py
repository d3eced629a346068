"""Remove from an environment what gateway and stand-in never run; Dockerfiles call this after the installation.

    python tools/slim.py /opt/venv

It needs only Python. The packages must be compiled to bytecode, which replaces their sources. Tracebacks still have
file, line number and function of a library, but not the text of the line. TensorFlow must not be among the packages: it
uses more of numpy, and its own sources.
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
    "**/*.[ch]": "sources of compiled modules",
    "PIL/_imagingft.*.so": "text in images, with the three libraries below",
    "pillow.libs/libfreetype-*": "fonts",
    "pillow.libs/libharfbuzz-*": "fonts",
    "pillow.libs/libbrotli*": "compressed fonts",
    "PIL/_imagingtk.*.so": "windows on a screen",
    "PIL/_imagingm*.so": "arithmetic and shapes of images",
    "PIL/_webp.*.so": "WebP, which OpenCV decodes",
    "pillow.libs/libwebpdemux-*": "WebP",
    "pillow.libs/libwebpmux-*": "WebP",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so": "runs models on GPUs",
    "ai_edge_litert/tools": "commands that convert and measure models",
    "ai_edge_litert/vendors": "runs models on accelerators of phones",
    "cv2/LICENSE*.txt": "the same text as in opencv_python_headless-*.dist-info",
    "cv2/data": "cascades for face detection",
    "grpc/_cython/_credentials": "certificate authorities for TLS, which calls to the model server do not use",
    "numpy/_core/_*tests.*.so": "modules for numpy's tests",
    "numpy/_core/_simd.*.so": "modules for numpy's tests; its own vector code is in _multiarray_umath",
    "numpy/_core/include": "headers",
    "numpy/_core/lib": "a library to link with, and its scripts",
    "numpy/distutils": "builds extensions; absent since Python 3.12",
    "numpy/f2py": "wraps Fortran code",
    # numpy imports these on first use, and nothing here uses them. numpy/ma must stay: numpy.median imports it.
    "numpy/fft": "Fourier transforms",
    "numpy/polynomial": "polynomials",
    "numpy/random": "random numbers",
    "numpy/testing": "helpers for tests",
    "pydantic/v1": "version 1 of pydantic",
}
"""Patterns below site-packages, and what they contain."""

READ_BY_PATH = ("cv2/config*.py",)
"""Sources that their package reads as files, without an import."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Slim the environment named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.slim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environment", type=Path)
    environment: Path = parser.parse_args(arguments).environment
    (packages,) = environment.glob("lib/python3*/site-packages")
    remove(packages, NEVER_RUN)
    keep_bytecode(packages, READ_BY_PATH)


def remove(packages: Path, patterns: Iterable[str]) -> None:
    """Remove everything that matches one of the patterns."""
    for path in [path for pattern in patterns for path in packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # already removed with its folder


def keep_bytecode(packages: Path, read_by_path: Iterable[str]) -> None:
    """Replace sources by their bytecode, at the place that Python expects for modules without source (PEP 3147)."""
    excluded = {path for pattern in read_by_path for path in packages.glob(pattern)}
    for source in packages.rglob("*.py"):
        bytecode = Path(importlib.util.cache_from_source(str(source)))
        if bytecode.exists() and source not in excluded:
            bytecode.replace(source.with_suffix(".pyc"))
            source.unlink()
    for folder in packages.rglob("__pycache__"):
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
