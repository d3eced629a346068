"""Run uv with the package index that pip or uv is configured for; `make` and the Dockerfiles call this.

    python tools/uv.py install .venv --extra gateway    install packages of uv.lock, selected by options of `uv export`
    python tools/uv.py build --out-dir dist             run any other command of uv

It needs the interpreter of an environment that contains uv and pip, and nothing else.

`uv sync --frozen` downloads from the addresses that uv.lock names, whatever index is configured, and so fails where
only a mirror can be reached. There, `install` takes names, versions and hashes from the lock and the files from the
index, and downloads the pages of the index, too: 25 MB more where they are not compressed.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
PYTHONS = ((3, 11), (3, 15))
"""The first version of Python that is supported, and the first that is not; as in pyproject.toml."""
WITHOUT_TENSORFLOW = (3, 14)
"""The first version of Python for which TensorFlow has no package; as in pyproject.toml."""
WITH_TENSORFLOW = {"--all-extras", "--extra=tensorflow", "--extra=train", "tensorflow", "train", "--group=gpu", "gpu"}
"""Options of `uv export`, and values of `--extra` and `--group`, that select TensorFlow."""
SIZES = {
    "--all-extras": "630 MB to download, 2.7 GB on disk",
    "tensorflow": "430 MB to download, 1.6 GB on disk",
    "model-server": "120 MB to download, 340 MB on disk",
}
"""What an empty environment takes, measured on Linux, by the first of these words that the selection has."""
PIP_SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration, the last of which counts."""
MIRRORS = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"}
"""Variables of uv that may send it to another index than the one that was locked."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as in a shell."""
VARIABLES = {"cert": ("SSL_CERT_FILE",), "proxy": ("HTTPS_PROXY", "HTTP_PROXY"), "trusted-host": ("UV_INSECURE_HOST",)}
"""Options of pip, and the variables that mean the same to uv."""


class PythonUnavailableError(Exception):
    """No Python that the packages are for can be had; the message says which ones are and how to get one."""


def main(arguments: Sequence[str]) -> int:
    """Run a command of uv, or `install`; return the exit status."""
    options = pip_options()
    own = {name: value for name, value in os.environ.items() if value}  # Compose and make pass empty ones, too
    environment = {**variables(options, own), **own}
    try:
        if arguments[:1] != ["install"]:
            run(arguments, environment)
        else:
            install(Path(arguments[1]), arguments[2:], environment, [*local_files(options)])
    except PythonUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        if "UV_DEFAULT_INDEX" not in environment:
            print("Where packages come through a mirror, set PIP_INDEX_URL to its address.", file=sys.stderr)
        return error.returncode
    return 0


def pip_options() -> dict[str, str]:
    """Return pip's options of configuration files and variables by name, such as `index-url`."""
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list")
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    values = {name: str(ast.literal_eval(value)) for name, value in pairs}
    return {
        name.removeprefix(f"{section}."): value
        for section in PIP_SECTIONS
        for name, value in values.items()
        if name.startswith(f"{section}.") and value
    }


def variables(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables for uv: Python is not downloaded, and pip's options apply where uv has none of its own.

    Further indexes of pip are left out: every package of the lock is on the main one.
    """
    values = {"UV_PYTHON_DOWNLOADS": "never"}
    if "index-url" in options and "UV_INDEX_URL" not in environment:
        values["UV_DEFAULT_INDEX"] = options["index-url"]
    for option, names in VARIABLES.items():
        values |= dict.fromkeys(names, options[option]) if option in options else {}
    return values


def local_files(options: Mapping[str, str]) -> Iterator[str]:
    """Yield the options of uv for pip's `no-index`, with which packages come from folders alone."""
    if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        yield "--no-index"
        yield from (f"--find-links={place}" for place in options.get("find-links", "").split())


def install(folder: Path, selection: Sequence[str], environment: Mapping[str, str], places: Sequence[str]) -> None:
    """Install packages of uv.lock by their hashes, in addition to those that the environment has.

    Args:
        folder: The environment; it is made if it is missing or has another Python.
        selection: Options of `uv export`, which select extras and groups.
        environment: Variables for uv.
        places: Options of `uv pip install` for the places of the files.

    Raises:
        PythonUnavailableError: No Python that the packages are for can be had.
        CalledProcessError: uv failed and has said why.
    """
    python = folder / "bin" / "python"
    below = WITHOUT_TENSORFLOW if WITH_TENSORFLOW & {*selection} else PYTHONS[1]
    if is_usable(python, below):
        print(f"Updating the packages in {folder} ...", flush=True)
    else:
        size = next((f": {size}" for word, size in SIZES.items() if word in selection), "")
        print(f"Installing packages into {folder}{size} ...", flush=True)
        make_environment(folder, below, environment)
    if MIRRORS & {*environment} or places or not install_from_lock(folder, python, selection, environment):
        install_from_index(python, selection, environment, places)
    for packages in folder.glob("lib/python*/site-packages"):
        make_paths_relative(packages.absolute())


def install_from_lock(folder: Path, python: Path, selection: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Install packages from the addresses that the lock names; return whether that succeeded.

    The environment's Python is named, or uv would replace it by that of `UV_PYTHON` or of a file `.python-version`.
    """
    selection = [option.replace("--no-emit-", "--no-install-") for option in selection]
    variables = {**environment, "UV_PROJECT_ENVIRONMENT": str(folder.absolute())}
    try:
        run(("sync", "--frozen", "--inexact", "--python", str(python), *selection), variables)
    except subprocess.CalledProcessError:
        print("The addresses of uv.lock cannot be used. Trying the configured index instead ...", flush=True)
        return False
    return True


def install_from_index(
    python: Path, selection: Sequence[str], environment: Mapping[str, str], places: Sequence[str]
) -> None:
    """Install packages from the index that uv is sent to, into the environment of an interpreter.

    Raises:
        CalledProcessError: uv failed and has said why.
    """
    export = ("export", "--frozen", "--quiet", "--no-annotate", "--no-header", *selection)
    lines = run(export, environment, capture=True).splitlines(keepends=True)
    ours = [line.partition(" ;")[0].split()[1] for line in lines if line.startswith("-e ")]
    pip = ("pip", "install", "--python", str(python), "--no-deps", *places)
    run((*pip, "--require-hashes", "-r", "-"), environment, text="".join(line for line in lines if line[:3] != "-e "))
    for project in ours:
        run((*pip, "--quiet", "--editable", project), environment)


def is_supported(version: tuple[int, int], below: tuple[int, int] = PYTHONS[1]) -> bool:
    """Return whether packages are for a version of Python; `below` is the first that they are not for."""
    return PYTHONS[0] <= version < below


def is_usable(python: Path, below: tuple[int, int]) -> bool:
    """Return whether an environment's interpreter runs, is supported, and is that of this program where that suits all.

    Args:
        python: The interpreter.
        below: The first version of Python that the packages to install are not for.
    """
    code = "import sys; print(*sys.version_info[:2], sys.base_prefix)"
    try:
        described = subprocess.run((python, "-Ic", code), capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return False
    own = " ".join((*map(str, sys.version_info[:2]), sys.base_prefix))
    major, minor = map(int, described.split()[:2])
    is_own = described == own or not is_supported(sys.version_info[:2], WITHOUT_TENSORFLOW)
    return is_own and is_supported((major, minor), below)


def make_environment(folder: Path, below: tuple[int, int], environment: Mapping[str, str]) -> None:
    """Make an empty environment with this program's Python or, if that is not supported, with one that uv finds.

    Only for TensorFlow, uv may download a Python without being asked for it.

    Raises:
        PythonUnavailableError: There is no such Python, and uv may not or cannot download one.
    """
    command = ("venv", "--quiet", "--clear", str(folder), "--python")
    if is_supported(sys.version_info[:2], below):
        run((*command, sys.executable), environment)
        return
    variables = dict(environment)
    if below == WITHOUT_TENSORFLOW:
        own_version = "{}.{}".format(*sys.version_info)
        print(f"TensorFlow has no package for Python {own_version}: using an older Python.", flush=True)
        variables["UV_PYTHON_DOWNLOADS"] = os.environ.get("UV_PYTHON_DOWNLOADS") or "automatic"
    versions = ">={}.{},<{}.{}".format(*PYTHONS[0], *below)
    try:
        run((*command, versions), variables)
    except subprocess.CalledProcessError as error:
        raise PythonUnavailableError(
            f"This needs Python {versions}, and there is none. Install one with your system's packages, or let uv "
            "download it (30 MB) where GitHub can be reached: set UV_PYTHON_DOWNLOADS=automatic"
        ) from error


def make_paths_relative(packages: Path) -> None:
    """Let the `.pth` files of editable projects name their folder by a relative path.

    Python reads these files in the locale's encoding: with LC_ALL=C it does not start if a path has other characters.
    """
    for file in packages.glob("_editable_impl_*.pth"):
        path = file.read_text(encoding="utf-8").strip()
        file.unlink()  # it may be one file with that of uv's cache
        file.write_text(os.path.relpath(packages / path, packages), encoding="utf-8")


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    capture: bool = False,
    text: str | None = None,
) -> str:
    """Run uv, with `text` as its input; return its output if that is to be captured.

    Raises:
        CalledProcessError: uv failed and has said why.
    """
    output = subprocess.PIPE if capture else None
    done = subprocess.run(
        (UV, *arguments),
        input=text,
        stdout=output,
        env=environment,
        encoding="utf-8",
        check=True,
    )
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
