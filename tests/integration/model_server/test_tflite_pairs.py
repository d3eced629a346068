"""Calls recorded from the TensorFlow Lite code of tensorflow_model_server 2.20, repeated on this server's models.

The recording has the types and shapes of inputs and outputs, not their values. Calls are compared where the file of
the model is there; wrong types, which the real server does not notice, are always errors here.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from model_server.dataplane import run_signature
from model_server.errors import ServingError
from model_server.memory import MemoryBudget
from model_server.runtime.tflite.model import TfliteModel

SHARED = Path(__file__).parents[3] / "../shared/cases/tflite"

if not SHARED.is_dir():
    pytest.skip("../shared/cases/tflite is not here", allow_module_level=True)

THREE_SIGNATURES, AS_CONVERTED = "digits_three_signatures_int8.tflite", "digits_as_converted_int8.tflite"
FILES = {
    "digits_int8.tflite": AS_CONVERTED,
    "digits int8 two-form hardened (factory)": THREE_SIGNATURES,
    "digits int8 two-form prototype p2 (factory)": THREE_SIGNATURES,
    "prototype from digits": THREE_SIGNATURES,
    "digits DIV float (prototype)": THREE_SIGNATURES,
    "only model.tflite in the folder": THREE_SIGNATURES,
}
"""File of each recorded model."""
TYPES = {AS_CONVERTED: {"serving_default_image": "uint8"}, THREE_SIGNATURES: {"image": "uint8"}}
STRICTER = ("wrong rank 1-D", "rank 0 scalar", "wrong channels 3")
"""Shapes of the file without checks on which LiteRT 2.3 fails; TensorFlow Lite 2.20 computes nonsense."""


def without_index(name):
    return name.removesuffix(":0")


@dataclass(frozen=True)
class Call:
    file: str
    signature: str
    inputs: dict
    outputs: list
    expected: object
    """Code and message of an error, or types and shapes of the outputs."""
    crashes: bool
    note: str


def read_call(record):
    """Convert a record; None if no request can be like it."""
    file = FILES[record["model"]]
    inputs, outputs = record["feeds"], record.get("output_filter", record.get("fetch"))
    if file == AS_CONVERTED:  # recorded below the signatures, by the names of tensors
        if list(inputs) != ["serving_default_image:0"] or outputs != ["PartitionedCall_3:0"]:
            return None
        inputs, outputs = {without_index(name): spec for name, spec in inputs.items()}, ["PartitionedCall_3"]
    expected = record.get("error") or {without_index(name): spec for name, spec in record.get("outputs", {}).items()}
    signature = record.get("signature", "serving_default")
    return Call(file, signature, inputs, outputs, expected, "crash" in record, record["note"])


def calls():
    """Return each different call once."""
    records = map(json.loads, (SHARED / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    different = {repr(call): call for call in (read_call(r) for r in records if r["model"] in FILES) if call}
    return [pytest.param(call, id=f"{number}-{call.note}") for number, call in enumerate(different.values())]


@pytest.fixture(scope="module")
def models():
    return {
        file: TfliteModel(SHARED / file, interpreters=1, memory=MemoryBudget(2**31))
        for file in (THREE_SIGNATURES, AS_CONVERTED)
    }


def array(dtype, shape):
    return np.full(shape, b"", object) if dtype in {"string", "object"} else np.zeros(shape, dtype)


def outcome_of(model, call):
    inputs = {name: array(*spec) for name, spec in call.inputs.items()}
    try:
        outputs = run_signature(model, call.signature, inputs, call.outputs, None)
    except ServingError as error:
        return [int(error.code), error.message]
    return {
        name: ["string" if output.dtype == object else output.dtype.name, list(output.shape)]
        for name, output in outputs.items()
    }


@pytest.mark.parametrize("call", calls())
def test_a_recorded_call_has_the_same_outcome(models, call):
    outcome = outcome_of(models[call.file], call)

    if any(dtype != TYPES[call.file].get(name, dtype) for name, (dtype, _) in call.inputs.items()):
        assert outcome[0] == 3
        assert "the type of tensor" in outcome[1]
    elif call.crashes:
        assert isinstance(outcome, list)
    elif call.file == AS_CONVERTED and call.note in STRICTER:
        assert outcome in ([13, "Failed to allocate tensors"], call.expected)
    else:
        assert outcome == call.expected
