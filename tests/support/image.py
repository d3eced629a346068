"""Build a Dockerfile's image as a folder, and run its command as a process, without Docker.

The last stage is executed line by line: ARG, ENV, COPY from the repository, RUN, ENTRYPOINT, CMD. The packages of the
tests, or the result of `install` for the stage before, replace copies from other stages; the folder replaces WORKDIR.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Image:
    folder: Path
    environment: Mapping[str, str]
    command: Sequence[str]

    def start(self, *arguments: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start the command as `docker run` does; its output goes to `log`."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [*self.command, *arguments],
                cwd=self.folder,
                env={**self.environment, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def install(dockerfile: Path, folder: Path) -> Path:
    """Execute the first stage with uv and Python of this machine; return the virtual environment."""
    environment = folder / "venv"
    local = {
        "/opt/venv": str(environment),
        "/opt/uv/bin/python": str(ROOT / ".tools/uv/bin/python"),
        "/usr/local/bin/python": sys.executable,
        "--mount=type=secret,id=pip,target=/etc/pip.conf": "",
        "--mount=type=cache,target=/root/.cache/uv": "",
    }
    variables = dict(os.environ)
    for keyword, rest in stages(dockerfile.read_text(encoding="utf-8"))[0]:
        text = re.sub("|".join(map(re.escape, local)), lambda match: local[match[0]], rest)
        match keyword:
            case "ARG":
                name, _, default = text.partition("=")
                variables.setdefault(name, default)
            case "ENV":
                variables |= dict(word.split("=", 1) for word in shlex.split(text))
            case "COPY":
                copy(text, folder, {})
            case "RUN" if "-m venv /opt/uv" not in text:  # installs uv
                subprocess.run(["bash", "-euc", text], cwd=folder, env=variables, check=True)
    return environment


def build(dockerfile: Path, folder: Path, programs: Path = Path(sys.executable).parent, **arguments: str) -> Image:
    """Execute the last stage; `programs` is the folder of Python and of its packages' commands."""
    # Of this machine's environment, only the path to programs and Python packages.
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    command: list[str] = []
    for keyword, rest in last_stage(dockerfile.read_text(encoding="utf-8")):
        match keyword:
            case "ARG":
                name, _, default = rest.partition("=")
                arguments.setdefault(name, default)
            case "ENV":
                variables = dict(word.split("=", 1) for word in shlex.split(rest))
                environment |= {name: value for name, value in variables.items() if name not in {"PATH", "HOME"}}
            case "COPY" if not rest.startswith("--from="):
                copy(rest, folder, arguments)
            case "RUN":
                subprocess.run(["bash", "-euc", rest], cwd=folder, env={**environment, **arguments}, check=True)
            case "ENTRYPOINT" | "CMD":
                command += json.loads(rest)
    return Image(folder, environment, command)


def last_stage(text: str) -> list[tuple[str, str]]:
    """Return the instructions of the last stage, each with its text on one line."""
    return stages(text)[-1]


def stages(text: str) -> list[list[tuple[str, str]]]:
    """Return the instructions of every stage, each with its text on one line."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    result: list[list[tuple[str, str]]] = []
    for keyword, _, rest in (line.partition(" ") for line in lines if line):
        if keyword == "FROM":
            result.append([])
        elif result:
            result[-1].append((keyword, rest.strip()))
    return result


def copy(rest: str, folder: Path, arguments: Mapping[str, str]) -> None:
    """Copy as Docker does: a folder's content goes into the target, a file into a target that ends in /."""
    *sources, target = (re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], word) for word in rest.split())
    for source in (ROOT / source for source in sources):
        if source.is_dir():
            shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            destination = folder / target / source.name if target.endswith("/") else folder / target
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
