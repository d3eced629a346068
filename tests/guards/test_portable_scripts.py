"""The Makefile and scripts keep to what macOS has: GNU make 3.81, bash 3.2 and BSD's tools."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import __version__

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
"""Without what `make test` hands on to a make that it starts."""
SCRIPTS = [ROOT / ".ci" / "run"]
"""Shell scripts that run on a developer's machine; deploy/kubernetes' runs in a container."""

# https://git.savannah.gnu.org/cgit/make.git/tree/NEWS: what came with 3.82 and later.
LATER_IN_MAKE = {
    "special variable or target": r"\.(SHELLFLAGS|ONESHELL|RECIPEPREFIX|SHELLSTATUS|EXTRA_PREREQS|WAIT)\b",
    "assignment": r"^[^\t#]*?(::|!)=",
    "directive": r"^(undefine|private|load|-load)\b|^define \S+ [:+?!]?=",
    "function": r"\$\((file|guile|let|intcmp) ",
    "grouped targets": r"^[^\t#]*&:",
    "option": r"--(output-sync|trace|shuffle)",
}
LATER_IN_BASH = {
    "redirection": r"&>>|\|&",
    "builtin": r"\b(mapfile|readarray|coproc)\b|\bwait -[nfp]\b|\bread -[^ ]*[iN]",
    "declaration": r"\b(declare|local|typeset) -[a-zA-Z]*[Agnlu]",
    "case of letters": r"\$\{\w+(\[[^]]*\])?[,^]{1,2}[^}]*\}",
    "transformation": r"\$\{\w+@\w\}",
    "negative index": r"\$\{\w+\[-\d+\]\}|\$\{\w+: ?-\d+:\d+\}",
    "test": r"\[\[ -v |\[ -v ",
    "expansion": r"\{0\d+\.\.|\.\.\d+\.\.",
    "variable": r"\b(BASHPID|EPOCHSECONDS|EPOCHREALTIME|SRANDOM)\b",
    "format": r"%\(.*\)T",
    "option": r"shopt -s (globstar|lastpipe|inherit_errexit)",
    "case branch": r";;?&",
}
LACKING_IN_BSD = {
    "GNU's sed": r"\bsed -i(?! '')|\bsed (-\w+ )*-r\b",
    "GNU's date": r"\bdate (-d|--date|\+%N)",
    "GNU's stat": r"\bstat (-c|--format)",
    "GNU's readlink": r"\breadlink -[fem]|\brealpath --",
    "GNU's grep": r"\bgrep -\w*P",
    "GNU's xargs": r"\bxargs (-\w+ )*-(d|r)\b",
    "GNU's find": r"\bfind\b.*-(printf|readable|writable|executable)\b",
    "GNU's mktemp, cp or sort": r"\bmktemp --|\bcp (-\w+ )*--|\bsort -\w*[Vh]\b",
    "a program of Linux": r"(?:^|[@;&|] ?)\s*(timeout|nproc|setsid|tac|seq -w|free|ip|systemctl)\b",
    "awk's lazy repetition": r"\.\*\?|\.\+\?",
}
KINDS = {
    "make": (LATER_IN_MAKE | LACKING_IN_BSD),
    "bash": (LATER_IN_BASH | LACKING_IN_BSD),
}


def constructs(kind: str, text: str) -> Iterator[str]:
    """Yield what macOS lacks in a text, with its kind."""
    code = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    for name, pattern in KINDS[kind].items():
        yield from (f"{name}: {match[0]!r}" for match in re.finditer(pattern, code, re.MULTILINE))


def test_the_makefile_keeps_to_what_macos_has():
    recipes = "\n".join(line for line in MAKEFILE.splitlines() if line.startswith("\t"))

    assert list(constructs("make", MAKEFILE)) == []
    assert list(constructs("bash", recipes.replace("$$", "$"))) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_keep_to_what_macos_has(script: Path):
    before_debian, _, _ = script.read_text(encoding="utf-8").partition("apt-get")

    assert list(constructs("bash", before_debian)) == []


def test_an_empty_array_is_not_expanded():
    """With `set -u`, bash 3.2 calls an array without elements unbound."""
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        for name in re.findall(r"(\w+)=\(\)", text):
            guard, use = text.find(f"${{#{name}[@]}} -gt 0 ] || return"), text.find(f'"${{{name}[@]}}"')
            assert 0 < guard < use, f"{script}: {name} may be empty where it is expanded"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("make", ".SHELLFLAGS := -eu -c"), ("make", ".ONESHELL:"), ("make", "A ::= b"), ("make", "A != date"),
        ("make", "a b &: c"), ("make", "A := $(file < b)"), ("make", "undefine A"), ("make", "\tsed -i s/a/b/ c"),
        ("make", "\tawk 'BEGIN { FS = \":.*?## \" }'"), ("make", "\t@timeout 5 sleep 9"),
        ("bash", "echo a &>> b"), ("bash", "mapfile -t lines"), ("bash", "declare -A names"), ("bash", "wait -n"),
        ("bash", "echo ${name,,}"), ("bash", "[[ -v name ]]"), ("bash", "readlink -f a"), ("bash", "date -d tomorrow"),
        ("bash", "stat -c %s a"), ("bash", "echo ${list[-1]}"), ("bash", "local -n other=name"),
    ],
)  # fmt: skip
def test_other_constructs_are_found(kind: str, text: str):
    assert list(constructs(kind, text))


def set_up(folder: Path, python_script: str) -> subprocess.CompletedProcess[str]:
    """Run the first step of the set-up in a folder, with a shell script instead of Python."""
    for name in ("Makefile", "tools/uv.txt", "gateway/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    python = folder / "python"
    python.write_text(python_script)
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", ".tools/uv/bin/uv"]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_set_up_that_fails_leaves_no_stamp(tmp_path: Path):
    """Without .SHELLFLAGS, as in GNU make 3.81, no `-e` ends a recipe at its first command that fails."""
    without_pip = "#!/bin/sh\ntest $1 = -c || { mkdir -p .tools/uv/bin && ln -sf /bin/false .tools/uv/bin/python; }\n"

    for _ in range(2):
        made = set_up(tmp_path, without_pip)

        assert made.stdout.startswith(
            f"Image Gateway {__version__}: setting up with {tmp_path / 'python'} ...\nInstalling uv into "
        )
        assert made.returncode == 2
        assert not (tmp_path / ".tools/uv/bin/uv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_ctrl_c_ends_the_set_up_without_a_traceback(tmp_path: Path):
    # Python is interrupted while it makes an environment, as every program of the terminal is.
    interrupted = "#!/bin/sh\ntest $1 = -c || { echo Traceback >&2; kill -INT $PPID; exit 1; }\n"

    made = set_up(tmp_path, interrupted)

    assert made.returncode == 2
    assert "Traceback" not in made.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_values_of_make_run_may_have_spaces():
    values = {"MODELS_CONFIG": "my models/models.config", "RUN_DIR": "my run", "TLS_DIR": "my certificates"}
    variables = [f"{name}={value}" for name, value in values.items()]

    made = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/.run-ready", "run", *variables],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )

    arguments = shlex.split(made.stdout.replace("\\\n", ""))
    assert {f"--{name.lower().replace('_', '-')}={value}" for name, value in values.items()} <= {*arguments}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("machine", "own", "expected"),
    [
        ("x86_64", "", ""),
        ("aarch64", "", "docker-compose.yml:docker-compose.arm.yml"),
        ("arm64", "", "docker-compose.yml:docker-compose.arm.yml"),
        ("aarch64", "mine.yml", "mine.yml"),
    ],
)
@pytest.mark.parametrize("target", ["up", "down"])
def test_compose_runs_the_stand_in_on_arm(tmp_path: Path, target: str, machine: str, own: str, expected: str):
    environment = {**imitate_machine(tmp_path, machine), **({"COMPOSE_FILE": own} if own else {})}

    made = subprocess.run(["make", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert made.stdout.endswith(f"files: {expected}\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COMPOSE_FILE=mine.yml", ""),  # Compose reads .env itself
        ("export COMPOSE_FILE = mine.yml", ""),
        ("#COMPOSE_FILE=mine.yml", "docker-compose.yml:docker-compose.arm.yml"),
    ],
)
def test_the_compose_files_of_dot_env_are_left_alone_on_arm(tmp_path: Path, line: str, expected: str):
    (tmp_path / ".env").write_text(f"PORT=8080\n{line}\n")
    command = ["make", f"--file={ROOT / 'Makefile'}", "down"]

    made = subprocess.run(
        command, cwd=tmp_path, env=imitate_machine(tmp_path, "arm64"), capture_output=True, text=True, check=True
    )

    assert made.stdout.endswith(f"files: {expected}\n")


def imitate_machine(folder: Path, machine: str) -> dict[str, str]:
    """Return an environment whose `uname` names a machine, and whose `docker` prints the files for Compose."""
    for name, script in {"uname": f"echo {machine}", "docker": 'echo "files: $COMPOSE_FILE"'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {**ENVIRONMENT, "PATH": f"{folder}:{ENVIRONMENT['PATH']}"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_without_a_suitable_python_make_says_what_to_do():
    arguments = ["make", "--always-make", "PYTHONS=python0.1", ".tools/uv/bin/uv"]

    made = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert made.returncode == 2
    assert "None of python0.1 is Python 3.11 to 3.14 with venv." in made.stderr
    assert "UV_PYTHON_DOWNLOADS=automatic" in made.stderr
