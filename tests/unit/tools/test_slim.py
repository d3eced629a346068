import py_compile
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tools import slim

ROOT = Path(__file__).parents[3]
NUMPY_PARTS = [pattern.partition("/")[2] for pattern in slim.NEVER_RUN if re.fullmatch(r"numpy/[a-z]+", pattern)]


@pytest.fixture
def packages(tmp_path):
    """An environment with the package `shapes`, compiled."""
    folder = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, text in {"__init__": "from shapes import round", "round": "SIDES = 0", "config": "SIDES = 4"}.items():
        file = folder / "shapes" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        py_compile.compile(str(file), doraise=True)
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_bytecode_replaces_its_source(packages):
    slim.keep_bytecode(packages, ["shapes/config*.py"])
    assert files(packages) == {"shapes/__init__.pyc", "shapes/round.pyc", "shapes/config.py"}
    assert not list(packages.rglob("__pycache__"))
    command = [sys.executable, "-c", "import shapes; print(shapes.round.SIDES)"]
    done = subprocess.run(command, env={"PYTHONPATH": str(packages)}, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_a_source_without_bytecode_is_kept(packages):
    (packages / "shapes" / "new.py").write_text("SIDES = 3", encoding="utf-8")
    slim.keep_bytecode(packages, [])
    assert (packages / "shapes" / "new.py").exists()


def test_matching_files_and_folders_are_removed(packages):
    (packages / "shapes" / "tests" / "tests").mkdir(parents=True)
    (packages / "shapes" / "tests" / "data.h").touch()
    slim.remove(packages, ["**/tests", "shapes/round.py", "**/__pycache__"])
    assert files(packages) == {"shapes/__init__.py", "shapes/config.py"}


def test_the_environment_of_the_command_line_is_slimmed(packages):
    (packages / "cv2" / "data").mkdir(parents=True)
    (packages / "cv2" / "data" / "faces.xml").touch()
    slim.main([str(packages.parents[2])])
    assert files(packages) == {"shapes/__init__.pyc", "shapes/round.pyc", "shapes/config.pyc"}


@pytest.mark.skipif(sys.platform != "linux", reason="an image has the packages for Linux")
@pytest.mark.parametrize("pattern", [*slim.NEVER_RUN, *slim.READ_BY_PATH])
def test_every_pattern_matches_something(pattern):
    """A pattern without a match means that the packages have changed."""
    if pattern == "numpy/distutils" and sys.version_info >= (3, 12):
        pytest.skip("numpy has it only for Python 3.11")
    assert any(Path(sysconfig.get_path("purelib")).glob(pattern))


def test_gateway_and_model_server_use_no_removed_part_of_numpy():
    assert {"random", "testing"} <= set(NUMPY_PARTS)
    uses = re.compile(
        rf"\b(?:np|numpy)\.(?:{'|'.join(NUMPY_PARTS)})\b|\bfrom numpy import .*\b(?:{'|'.join(NUMPY_PARTS)})\b"
    )
    packages = ("gateway", "model_server", "tfs_api", "vision")
    sources = [file for name in packages for file in (ROOT / name).rglob("*.py")]
    assert sources
    assert [file for file in sources if uses.search(file.read_text(encoding="utf-8"))] == []
