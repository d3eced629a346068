"""What a Dockerfile puts into its image and starts, as a folder and a process of this machine.

The last stage is followed line by line: ARG, ENV, COPY from the repository, RUN, ENTRYPOINT, CMD. In place of what
comes from other stages stand the packages of these tests, or what `install` has made of the stage before, in place of
WORKDIR the folder.
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
        """Start it as `docker run` does; what it prints goes to `log`."""
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
    """Follow the first stage, with uv and Python of this machine in place of the image's; return the environment."""
    environment = folder / "venv"
    here = {
        "/opt/venv": str(environment),
        "/opt/uv/bin/uv": str(ROOT / ".tools/uv/bin/uv"),
        "/usr/local/bin/python": sys.executable,
        "--mount=type=cache,target=/root/.cache/uv": "",
    }
    variables = dict(os.environ)
    for keyword, rest in stages(dockerfile.read_text(encoding="utf-8"))[0]:
        text = re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], rest)
        match keyword:
            case "ENV":
                variables |= dict(word.split("=", 1) for word in shlex.split(text))
            case "COPY":
                copy(text, folder, {})
            case "RUN" if "-m venv /opt/uv" not in text:  # installs uv
                subprocess.run(["bash", "-euc", text], cwd=folder, env=variables, check=True)
    return environment


def build(dockerfile: Path, folder: Path, programs: Path = Path(sys.executable).parent, **arguments: str) -> Image:
    """Follow the last stage; `programs` is the folder of Python and of what its packages have for PATH."""
    # Of this machine's environment only what finds programs and Python's packages.
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    command: list[str] = []
    for keyword, rest in last_stage(dockerfile.read_text(encoding="utf-8")):
        match keyword:
            case "ARG":
                name, _, default = rest.partition("=")
                arguments.setdefault(name, default)
            case "ENV":
                given = dict(word.split("=", 1) for word in shlex.split(rest))
                environment |= {name: value for name, value in given.items() if name not in {"PATH", "HOME"}}
            case "COPY" if not rest.startswith("--from="):
                copy(rest, folder, arguments)
            case "RUN":
                subprocess.run(["bash", "-euc", rest], cwd=folder, env={**environment, **arguments}, check=True)
            case "ENTRYPOINT" | "CMD":
                command += json.loads(rest)
    return Image(folder, environment, command)


def last_stage(text: str) -> list[tuple[str, str]]:
    """Give the instructions of the last stage, each with its text on one line."""
    return stages(text)[-1]


def stages(text: str) -> list[list[tuple[str, str]]]:
    """Give the instructions of every stage, each with its text on one line."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found: list[list[tuple[str, str]]] = []
    for keyword, _, rest in (line.partition(" ") for line in lines if line):
        if keyword == "FROM":
            found.append([])
        elif found:
            found[-1].append((keyword, rest.strip()))
    return found


def copy(rest: str, folder: Path, arguments: Mapping[str, str]) -> None:
    """Copy files and folders; as in Docker a folder's content goes into the target, a file into one that ends in /."""
    *sources, target = (re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], word) for word in rest.split())
    for source in (ROOT / source for source in sources):
        if source.is_dir():
            shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            place = folder / target / source.name if target.endswith("/") else folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
