"""What `make up` mounts can be read in containers: with SELinux, and after a clone with a private umask."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import compose

MAKEFILE = compose.ROOT / "Makefile"
(MOUNTED,) = re.findall(r"^MOUNTED := (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
MOUNTS = [
    volume.split(":")
    for file in compose.files()
    for service in compose.load(file, {"TLS_DIR": "./tls"})["services"].values()
    for volume in service.get("volumes", [])
    if volume.startswith(".")
]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def test_every_mount_is_read_only_and_labelled_for_selinux():
    assert len(MOUNTS) > 4
    assert {options for _, _, options in MOUNTS} == {"ro,z"}


def test_make_checks_every_folder_of_the_repository_that_is_mounted():
    folders = {f"./{folder}" for folder in MOUNTED.split()}

    for source, _, _ in MOUNTS:
        assert source == "./tls" or any(source == folder or source.startswith(f"{folder}/") for folder in folders)


@needs_make
def test_a_clone_with_a_private_umask_is_named_with_its_cure(tmp_path: Path):
    shutil.copy2(MAKEFILE, tmp_path)
    for folder in MOUNTED.split():
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "serving_models" / "models.config").touch(mode=0o600)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "docker $*"\n', encoding="utf-8")
    docker.chmod(0o755)

    def make_up() -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(
            ["make", "up"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    refused = make_up()
    cure = refused.stderr.partition("Run once: ")[2].splitlines()[0]
    subprocess.run(shlex.split(cure), cwd=tmp_path, check=True)
    started = make_up()

    assert refused.returncode == 2
    assert "docker" not in refused.stdout
    assert started.returncode == 0
    assert "docker compose up --build" in started.stdout
