"""What a Dockerfile puts into its image and starts, as a folder and a process of this machine.

The last stage is followed line by line: ARG, ENV, COPY from the repository, RUN, ENTRYPOINT. In place of what comes
from other stages stand the packages of these tests, in place of WORKDIR the folder.
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
    entrypoint: Sequence[str]

    def start(self, *arguments: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start it as `docker run` does; what it prints goes to `log`."""
        command = [sys.executable if word == "python" else word for word in (*self.entrypoint, *arguments)]
        with log.open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def build(dockerfile: Path, folder: Path, **arguments: str) -> Image:
    """Follow a Dockerfile."""
    # Of this machine's environment only what finds programs and Python's packages.
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    entrypoint: list[str] = []
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
            case "ENTRYPOINT":
                entrypoint = json.loads(rest)
    return Image(folder, environment, entrypoint)


def last_stage(text: str) -> list[tuple[str, str]]:
    """Give the instructions of the last stage, each with its text on one line."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    instructions = [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in lines if line)]
    begin = max(number for number, (keyword, _) in enumerate(instructions) if keyword == "FROM")
    return instructions[begin + 1 :]


def copy(rest: str, folder: Path, arguments: Mapping[str, str]) -> None:
    """Copy files and folders; as in Docker a folder's content goes into the target, a file into one that ends in /."""
    *sources, target = (re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], word) for word in rest.split())
    for source in (ROOT / source for source in sources):
        if source.is_dir():
            shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            (folder / target).mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / target)
