from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools import generated_files, vendor_protos


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Create a folder of packages in which a.proto needs b.proto, and nothing needs c.proto."""
    core = tmp_path / "site-packages" / "tensorflow" / "core"
    core.mkdir(parents=True)
    (core / "a_pb2.py").write_text("from tensorflow.core import b_pb2 as b\nimport sys\n")
    (core / "b_pb2.py").write_text("raise AssertionError('executed')\n")
    (core / "c_pb2.py").write_text("")
    apis = tmp_path / "site-packages" / "tensorflow_serving" / "apis"
    apis.mkdir(parents=True)
    (apis / "service_pb2.py").write_text("from tensorflow.core.a_pb2 import *\n")
    return tmp_path / "site-packages"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    protos = tmp_path / "protos.py"
    protos.write_text("with nothing():\n    from tensorflow_serving.apis import (\n        service_pb2,\n    )\n")
    monkeypatch.setattr(vendor_protos, "PROTOS", protos)
    monkeypatch.setattr(vendor_protos, "ROOT", tmp_path)
    monkeypatch.setattr(vendor_protos, "VENDORED", tmp_path / "_generated")
    return tmp_path / "_generated"


@pytest.mark.usefixtures("repository")
def test_needed_files_are_the_tensorflow_modules_imported_directly_or_indirectly(installed: Path):
    needed = vendor_protos.needed_files(installed)

    assert set(map(str, needed)) == {"tensorflow/core/a_pb2.py", "tensorflow/core/b_pb2.py"}


def differences(needed: Mapping[Path, bytes]) -> list[str]:
    return generated_files.differences(needed, vendor_protos.VENDORED, vendor_protos.vendored_files())


def test_writing_updates_the_copy(installed: Path, repository: Path):
    (repository / "tensorflow" / "core").mkdir(parents=True)
    (repository / "tensorflow" / "core" / "b_pb2.py").write_text("changed")
    (repository / "tensorflow" / "core" / "old_pb2.py").write_text("")
    needed = vendor_protos.needed_files(installed)

    assert differences(needed) == [
        "missing: tensorflow/core/a_pb2.py",
        "differs: tensorflow/core/b_pb2.py",
        "no longer needed: tensorflow/core/old_pb2.py",
    ]

    generated_files.update("tools.vendor_protos", needed, repository, vendor_protos.vendored_files(), check=False)

    assert differences(needed) == []
    assert (repository / "tensorflow/core/a_pb2.py").read_bytes() == needed[Path("tensorflow/core/a_pb2.py")]


def test_check_changes_nothing_and_fails(
    installed: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(vendor_protos, "site_packages", lambda: installed)
    monkeypatch.setattr("sys.argv", ["vendor_protos", "--check"])
    assert vendor_protos.main() == 1
    assert not repository.exists()
    out, err = capsys.readouterr()
    assert "missing: tensorflow/core/a_pb2.py" in out
    assert "python -m tools.vendor_protos" in err

    monkeypatch.setattr("sys.argv", ["vendor_protos"])
    assert vendor_protos.main() == 0
    monkeypatch.setattr("sys.argv", ["vendor_protos", "--check"])
    assert vendor_protos.main() == 0


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_the_repository_is_up_to_date():
    needed = {**vendor_protos.needed_files(vendor_protos.site_packages()), **vendor_protos.version_file()}
    assert differences(needed) == []


def test_a_missing_tensorflow_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vendor_protos, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="tensorflow is not installed"):
        vendor_protos.site_packages()
