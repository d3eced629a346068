"""The script that fetches models to a Pod, with a real shell, a real rclone, and a folder in place of the bucket."""

import os
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import until

SCRIPT = Path(__file__).parents[3] / "deploy" / "kubernetes" / "base" / "model-server" / "sync_models.sh"
PATIENCE_S = 30
pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")


class Sync:
    """A bucket, the folder that mirrors it, and the running script."""

    def __init__(self, tmp_path):
        self.bucket, self.models, self.folder = tmp_path / "bucket", tmp_path / "models", tmp_path
        self.bucket.mkdir()
        self.models.mkdir()
        self.synced = tmp_path / "synced"

    def upload(self, version, files=("saved_model.pb", "variables/variables.index")):
        """Add a version to the bucket atomically, as an object store does."""
        source = self.folder / "export"
        for file in files:
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_text(version, encoding="utf-8")
        archive = self.folder / "upload.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(source, ".")
        shutil.rmtree(source)
        self.place(archive, version)

    def place(self, archive, version):
        target = self.bucket / f"{version}.tar"
        target.parent.mkdir(exist_ok=True)
        archive.rename(target)

    def versions(self):
        return {str(path.relative_to(self.models)) for path in self.models.glob("*/*")}

    def wait_for(self, *versions):
        until(lambda: self.versions() == set(versions), PATIENCE_S, f"{versions}, but {self.versions()}")

    def output(self):
        return (self.folder / "output").read_text(encoding="utf-8")

    @contextmanager
    def running(self):
        environment = {
            **os.environ,
            "MODELS_SOURCE": str(self.bucket),
            "MODELS_TARGET": str(self.models),
            "SYNC_INTERVAL_S": "0.1",
            "SYNCED": str(self.synced),
            "RCLONE_CONFIG": str(self.folder / "rclone.conf"),
        }
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(["sh", SCRIPT], env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
            assert process.poll() is None, self.output()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def sync(tmp_path):
    return Sync(tmp_path)


def test_versions_appear_complete_and_are_removed(sync):
    sync.upload("digits/1")
    sync.upload("cifar10/7", files=("model.tflite",))
    with sync.running():
        until(sync.synced.exists, PATIENCE_S, "synced")
        assert sync.versions() == {"digits/1", "cifar10/7"}
        assert (sync.models / "digits/1/variables/variables.index").read_text() == "digits/1"

        sync.upload("digits/2")
        sync.wait_for("digits/1", "digits/2", "cifar10/7")
        (sync.bucket / "digits/1.tar").unlink()
        sync.wait_for("digits/2", "cifar10/7")


def test_it_is_not_ready_before_every_version_is_fetched(sync):
    sync.upload("digits/1")
    sync.place(Path(shutil.copy(SCRIPT, sync.folder / "no-archive")), "digits/2")
    with sync.running():
        until(lambda: sync.output().count("not fetched: digits/2") > 1, PATIENCE_S, "second try")
        assert not sync.synced.exists()
        sync.upload("digits/2")
        until(sync.synced.exists, PATIENCE_S, "synced")
    assert {"digits/1", "digits/2"} <= sync.versions()


def test_an_archive_without_a_model_at_its_top_level_is_rejected(sync):
    sync.upload("digits/1", files=("digits/1/saved_model.pb", "digits/1/model.tflite"))
    with sync.running():
        until(lambda: "not fetched: digits/1 (saved_model.pb" in sync.output(), PATIENCE_S, "rejected")
        assert not (sync.models / "digits/1").exists()


@pytest.mark.parametrize("loss", ["bucket", "model"])
def test_models_lost_at_the_source_are_kept(sync, loss):
    sync.upload("digits/1")
    sync.upload("cifar10/7")
    with sync.running():
        until(sync.synced.exists, PATIENCE_S, "synced")
        if loss == "bucket":
            sync.bucket.rename(sync.folder / "gone")
            until(lambda: "directory not found" in sync.output(), PATIENCE_S, "error of rclone")
        else:
            (sync.bucket / "digits/1.tar").unlink()
            sync.upload("cifar10/8")  # in the same listing as the loss, or in a later one
            sync.wait_for("digits/1", "cifar10/7", "cifar10/8")
    assert {"digits/1", "cifar10/7"} <= sync.versions()


def test_other_objects_are_ignored(sync):
    sync.upload("digits/1")
    for name in ("README.md", "digits/notes.tar", "digits/2.zip"):
        (sync.bucket / name).write_text("x", encoding="utf-8")
    with sync.running():
        until(sync.synced.exists, PATIENCE_S, "synced")
    assert sync.versions() == {"digits/1"}
