"""Run every input of the corpus through its target, so that a bug found by fuzzing does not come back."""

import importlib
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("decode", "parse", "protocols", "serve")
INPUTS = {target: sorted((CORPUS / target).iterdir()) for target in TARGETS}


# werkzeug leaves the temporary file of an incomplete part to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("target", TARGETS)
def test_every_input_of_the_corpus_passes(target: str):
    one_input = importlib.import_module(f"tests.fuzz.{target}").one_input
    for path in INPUTS[target]:
        try:
            one_input(path.read_bytes())
        except Exception as error:
            error.add_note(f"The input is {path}.")
            raise


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_small(target: str):
    sizes = [path.stat().st_size for path in INPUTS[target]]
    assert len(sizes) >= 20
    assert sum(sizes) < 500_000
