import subprocess
import sys
from pathlib import Path

import pytest

from tfs_api.versions import DISTRIBUTIONS, check_versions, installed_versions

ROOT = Path(__file__).parents[3]


def test_patch_releases_may_differ():
    check_versions("2.20.0", {"tensorflow-cpu": "2.20.1", "tensorflow-serving-api": "2.20.0"})


def test_without_tensorflow_there_is_nothing_to_compare():
    check_versions("2.20.0", {})


def test_different_releases_are_refused_with_the_command_to_run():
    with pytest.raises(ImportError) as error:
        check_versions("2.20.0", {"tensorflow-serving-api": "2.20.0", "tensorflow-cpu": "2.21.0rc1"})

    message = str(error.value)
    assert "tensorflow-cpu 2.21.0rc1 is installed" in message
    assert "`python -m tools.vendor_protos`" in message
    assert message.endswith("install tensorflow-cpu==2.20.*")


def test_the_serving_api_is_among_the_installed_distributions():
    versions = installed_versions()

    assert "tensorflow-serving-api" in versions
    assert versions.keys() <= set(DISTRIBUTIONS)


def test_importing_the_protos_beside_another_tensorflow_names_both_versions(tmp_path: Path):
    metadata = tmp_path / "tensorflow_cpu-9.99.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: 9.99.0\n")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import tfs_api.protos"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "ImportError: tensorflow-cpu 9.99.0 is installed" in result.stderr
    assert "duplicate" not in result.stderr.lower().replace("cannot be loaded in one process", "")
