import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import ModelContractError, ModelUnavailableError, VersionGoneError
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.binding import bind, derive_card, inspect_version
from tests.support.fake_model_server import (
    FakeModelServer,
    FakeVersion,
    classifier,
    constant,
    explainable,
    image_signature,
)
from vision.card import Card, InputSpec, OutputSpec


def signature(inputs: Mapping[str, TensorSpec], **outputs: TensorSpec) -> Signature:
    return Signature(inputs, outputs)


def image(dtype: str = "uint8", *shape: int | None) -> dict[str, TensorSpec]:
    return {"image": TensorSpec(dtype, shape or (None, 4, 4, 1))}


SCORES = TensorSpec("float32", (None, 3))


# bind


def test_card_and_signature_that_agree_make_a_model_that_can_be_asked(card: Card):
    taken = image_signature(card)
    served = bind(card, taken, model="pets", version=7)
    assert (served.name, served.version, served.input_name) == ("pets", 7, "image")
    assert served.card is card
    assert served.call.signature is taken
    assert (served.call.model, served.call.version) == ("pets", 7)
    assert (served.call.signature_name, served.call.output) == ("serving_default", "probabilities")


@pytest.mark.parametrize(
    "taken",
    [
        image("float32"),
        image("uint8", None, 4, 4, 3),
        image("uint8", None, 4, 5, 1),
        image("uint8", None, 1, 4, 4),
        image("uint8", None, 16),
        image("uint8", 8, 4, 4, 1),
        image("string", None),
    ],
    ids=lambda taken: str(taken["image"]),
)
def test_an_input_that_the_card_contradicts_is_refused(card: Card, taken: dict[str, TensorSpec]):
    with pytest.raises(ModelContractError) as caught:
        bind(card, signature(taken, probabilities=SCORES), model="pets", version=1)
    assert "pets version 1" in caught.value.detail
    assert "uint8[1, 4, 4, 1]" in caught.value.detail
    assert str(taken["image"]) in caught.value.detail


@pytest.mark.parametrize("shape", [None, (None, None, None, None), (1, 4, 4, 1), (None, 4, 4, None)])
def test_an_input_that_leaves_things_open_is_accepted(card: Card, shape: tuple[int | None, ...] | None):
    taken = {"x": TensorSpec("uint8", shape)}
    assert bind(card, signature(taken, probabilities=SCORES), model="pets", version=1).input_name == "x"


def test_channels_first_is_held_against_channels_first():
    card = Card(name="x", labels=("a", "b"), input=InputSpec(height=4, width=5, layout="NCHW", dtype="float32"))
    scores = TensorSpec("float32", (None, 2))
    assert bind(card, signature(image("float32", None, 3, 4, 5), y=scores), model="x", version=1)
    with pytest.raises(ModelContractError):
        bind(card, signature(image("float32", None, 4, 5, 3), y=scores), model="x", version=1)


@pytest.mark.parametrize("count", [0, 2])
def test_anything_but_one_input_is_refused(card: Card, count: int):
    inputs = {f"image_{number}": TensorSpec("uint8", (None, 4, 4, 1)) for number in range(count)}
    with pytest.raises(ModelContractError, match=f"takes {count} inputs; an image classifier takes one"):
        bind(card, signature(inputs, probabilities=SCORES), model="pets", version=1)


def test_the_output_is_the_one_the_card_names(card: Card):
    card = dataclasses.replace(card, output=OutputSpec(name="logits", activation="softmax"))
    outputs = {"features": TensorSpec("float32", (None, 3)), "logits": SCORES}
    assert bind(card, Signature(image(), outputs), model="pets", version=1).call.output == "logits"


def test_a_single_output_needs_no_name(card: Card):
    assert bind(card, signature(image(), dense_1=SCORES), model="pets", version=1).call.output == "dense_1"


def test_an_output_that_is_not_there_is_refused(card: Card):
    with pytest.raises(ModelContractError, match=r"names the output probabilities; its signature has \['a', 'b'\]"):
        bind(card, signature(image(), a=SCORES, b=SCORES), model="pets", version=1)
    with pytest.raises(ModelContractError, match=r"its signature has \[\]"):
        bind(card, signature(image()), model="pets", version=1)


@pytest.mark.parametrize("shape", [(None, 2), (None, 4), (None,), (None, 3, 1), (2, 3)])
def test_another_number_of_scores_than_labels_is_refused(card: Card, shape: tuple[int | None, ...]):
    with pytest.raises(ModelContractError, match="has 3 labels; its signature returns float32"):
        bind(card, signature(image(), probabilities=TensorSpec("float32", shape)), model="pets", version=1)


@pytest.mark.parametrize("dtype", ["string", "int64", "uint8", "bool"])
def test_scores_that_are_no_fractions_are_refused(card: Card, dtype: str):
    with pytest.raises(ModelContractError, match="scores are floating-point numbers"):
        bind(card, signature(image(), probabilities=TensorSpec(dtype, (None, 3))), model="pets", version=1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_fractions_of_every_size_are_scores(card: Card, dtype: str):
    assert bind(card, signature(image(), probabilities=TensorSpec(dtype, (None, 3))), model="pets", version=1)


# derive_card


def test_a_card_is_derived_from_a_signature_of_bytes():
    card = derive_card("foreign", signature(image("uint8", None, 6, 8, 3), scores=TensorSpec("float32", (None, 2))))
    assert card.name == "foreign"
    assert card.labels == ("0", "1")
    assert card.input == InputSpec(height=6, width=8)
    assert card.output.activation == "none"


def test_a_card_is_derived_from_a_signature_of_fractions():
    card = derive_card("foreign", signature(image("float32", None, 6, 8, 1), scores=SCORES))
    assert card.input == InputSpec(height=6, width=8, color="GRAY", dtype="float32", std=(255.0,))
    coloured = derive_card("foreign", signature(image("float32", None, 6, 8, 3), scores=SCORES))
    assert coloured.input.std == (255.0, 255.0, 255.0)


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        (image("float64", None, 6, 8, 3), SCORES),
        (image("uint8", None, None, None, 3), SCORES),
        (image("uint8", None, 6, 8, 4), SCORES),
        (image("uint8", None, 48), SCORES),
        (image("string", None), SCORES),
        ({"image": TensorSpec("uint8", None)}, SCORES),
        (image("uint8", None, 6, 8, 3), TensorSpec("float32", (None, None))),
        (image("uint8", None, 6, 8, 3), TensorSpec("float32", (None, 1, 3))),
        ({**image("uint8", None, 6, 8, 3), "other": SCORES}, SCORES),
    ],
    ids=str,
)
def test_no_card_is_derived_from_what_is_no_classifier_of_fixed_size(taken: dict[str, TensorSpec], given: TensorSpec):
    with pytest.raises(ModelContractError, match=r"Write foreign/card\.json for it"):
        derive_card("foreign", signature(taken, scores=given))


# inspect_version


def inspect(server: FakeModelServer, cards_dir: Path, version: int = 1):
    return inspect_version(server, "pets", version, cards_dir=cards_dir, deadline=Deadline.after(10))


def test_a_version_tells_its_own_card(server: FakeModelServer, card: Card, tmp_path: Path):
    served = inspect(server, tmp_path)
    assert served.card == card
    assert served.call.output == "probabilities"


def test_the_card_in_the_model_counts_before_the_one_beside_it(server: FakeModelServer, card: Card, tmp_path: Path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "card.json").write_text(dataclasses.replace(card, labels=("x", "y", "z")).to_json())
    assert inspect(server, tmp_path).card == card


@pytest.fixture
def foreign(server: FakeModelServer, card: Card, tmp_path: Path) -> Path:
    """Serve a model that carries no card; give the file where one would be looked for."""
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1), described=False))
    (tmp_path / "pets").mkdir()
    return tmp_path / "pets" / "card.json"


def test_a_foreign_model_is_described_by_the_card_beside_it(
    server: FakeModelServer, foreign: Path, card: Card, tmp_path: Path
):
    foreign.write_text(card.to_json())
    assert inspect(server, tmp_path).card == card


def test_a_foreign_model_without_card_is_described_by_its_signature(
    server: FakeModelServer, foreign: Path, tmp_path: Path
):
    assert not foreign.exists()
    assert inspect(server, tmp_path).card.labels == ("0", "1", "2")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"name": "pets"}', b"[]"])
def test_a_damaged_card_is_refused(server: FakeModelServer, foreign: Path, tmp_path: Path, content: bytes):
    foreign.write_bytes(content)
    with pytest.raises(ModelContractError, match="The card of pets version 1"):
        inspect(server, tmp_path)


def test_a_card_that_cannot_be_read_is_refused(server: FakeModelServer, foreign: Path, tmp_path: Path):
    foreign.mkdir()
    with pytest.raises(ModelContractError, match=r"card\.json cannot be read: Is a directory"):
        inspect(server, tmp_path)


def test_a_card_that_contradicts_the_signature_is_refused(
    server: FakeModelServer, foreign: Path, card: Card, tmp_path: Path
):
    foreign.write_text(dataclasses.replace(card, labels=("cat", "dog")).to_json())
    with pytest.raises(ModelContractError, match="has 2 labels"):
        inspect(server, tmp_path)


def test_a_model_without_the_default_signature_is_refused(server: FakeModelServer, card: Card, tmp_path: Path):
    server.swap("pets", 1, FakeVersion({"other": image_signature(card)}, {}))
    with pytest.raises(ModelContractError, match="pets version 1 has no signature serving_default"):
        inspect(server, tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([], object),
        np.array([b"{}", b"{}"], object),
        np.array(b"{}", object),
        np.zeros(1, np.float32),
        np.array([[b"{}"]], object),
    ],
    ids=lambda rows: f"{rows.dtype}{list(rows.shape)}",
)
def test_a_describe_that_gives_no_single_text_is_refused(
    server: FakeModelServer, card: Card, tmp_path: Path, rows: np.ndarray
):
    made = classifier(card, constant(1, 0, 0))
    server.swap("pets", 1, FakeVersion(made.signatures, {**made.compute, "describe": lambda _: {"card": rows}}))
    with pytest.raises(ModelContractError, match=r"The card of pets version 1: describe returned .* expected string"):
        inspect(server, tmp_path)


def test_a_describe_that_takes_something_else_is_refused(server: FakeModelServer, card: Card, tmp_path: Path):
    made = classifier(card, constant(1, 0, 0))
    odd = Signature({"verbosity": TensorSpec("int64", ())}, {"card": TensorSpec("string", (None,))})
    server.swap("pets", 1, FakeVersion({**made.signatures, "describe": odd}, made.compute))
    with pytest.raises(ModelContractError):
        inspect(server, tmp_path)


def test_a_server_that_cannot_tell_is_no_fault_of_the_model(server: FakeModelServer, tmp_path: Path):
    with pytest.raises(VersionGoneError):
        inspect(server, tmp_path, version=2)
    server.away = True
    with pytest.raises(ModelUnavailableError):
        inspect(server, tmp_path)


# explain


def heat(images: Array, _: Array) -> Array:
    return np.zeros((len(images), 2, 2), np.float32)


def test_a_model_that_can_explain_says_how(server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline):
    server.swap("pets", 2, explainable(card, constant(1, 0, 0), heat))
    call = inspect_version(server, "pets", 2, cards_dir=tmp_path, deadline=deadline).explain
    assert call is not None
    assert (call.model, call.version, call.signature_name, call.output) == ("pets", 2, "explain", "heatmap")
    assert set(call.signature.inputs) == {"image", "class_id"}


def test_a_model_without_that_signature_cannot(server: FakeModelServer, tmp_path: Path, deadline: Deadline):
    assert inspect_version(server, "pets", 1, cards_dir=tmp_path, deadline=deadline).explain is None


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"image": TensorSpec("float32", (None, 4, 4, 1))}, "heatmap"),
        ({"image": TensorSpec("uint8", (None, 4, 4, 3))}, "heatmap"),
        ({"image": TensorSpec("uint8", (4, 4, 1))}, "heatmap"),
        ({"class_id": TensorSpec("int64", (None,))}, "heatmap"),
        ({"class_id": TensorSpec("int32", (None, 1))}, "heatmap"),
        ({"layer": TensorSpec("string", ())}, "heatmap"),
        ({}, "map"),
    ],
    ids=str,
)
def test_a_signature_that_takes_something_else_is_left_alone(
    *,
    server: FakeModelServer,
    card: Card,
    tmp_path: Path,
    deadline: Deadline,
    inputs: dict[str, TensorSpec],
    output: str,
):
    made = explainable(card, constant(1, 0, 0), heat)
    old = made.signatures["explain"]
    changed = Signature({**old.inputs, **inputs}, {output: old.outputs["heatmap"]})
    server.swap("pets", 2, FakeVersion({**made.signatures, "explain": changed}, made.compute))
    with capture_logs() as logs:
        served = inspect_version(server, "pets", 2, cards_dir=tmp_path, deadline=deadline)
    assert served.explain is None
    assert [(line["event"], line["model"], line["version"]) for line in logs] == [("explain_unusable", "pets", 2)]
