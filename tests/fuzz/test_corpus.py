"""Every input of the kept corpus through its target: what fuzzing has found once stays found."""

import importlib
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("decode", "parse")
INPUTS = [path for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


# werkzeug leaves the file of a part without end to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_input(path: Path):
    importlib.import_module(f"tests.fuzz.{path.parent.name}").one_input(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_kept_small(target: str):
    sizes = [path.stat().st_size for path in INPUTS if path.parent.name == target]
    assert len(sizes) >= 20
    assert sum(sizes) < 500_000
