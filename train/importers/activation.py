"""Which activation makes probabilities of a foreign network's outputs: what it ends in, and what is left to add.

A card that repeats the activation which the network already ends in would otherwise flatten every probability, without
an error anywhere: the softmax of a softmax has a sum of 1 as well. The graph tells; what it leaves open, values tell.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train.errors import TrainError
from train.export.frozen_network import Tensor
from vision.card import Activation, Card
from vision.postprocess import activation_of_logits

ACTIVATIONS: Mapping[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
"""TensorFlow's operations that make probabilities."""
RESHAPING = frozenset(
    {"Cast", "EnsureShape", "ExpandDims", "Identity", "Reshape", "Snapshot", "Squeeze", "StopGradient", "Transpose"}
)
"""Operations that leave the values as they are."""
LINEAR = frozenset({"BatchMatMulV2", "BiasAdd", "Conv2D", "Einsum", "LogSoftmax", "MatMul"})
"""Operations whose results are scores of any size; softmax makes probabilities of logarithms of them, too."""
SCALING = frozenset({"Add", "AddV2", "Mean", "Mul", "RealDiv", "Relu", *RESHAPING})
"""Operations whose results are scores if their inputs are."""


class ActivationError(TrainError):
    """The network ends in another activation than its card says, or than its task can have."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a network does last.

    Attributes:
        activation: The activation that it ends in; `none` if its outputs are scores, None if the graph does not tell.
        operation: TensorFlow's name of the operation.
        scores: The tensor before that activation, else the output.
    """

    activation: Activation | None
    operation: str
    scores: Tensor


@dataclass(frozen=True, slots=True)
class Choice:
    """How probabilities are made.

    Attributes:
        activation: What makes probabilities of `Ending.scores`.
        added: What makes probabilities of the network's own outputs; `none` if they are probabilities.
        note: What was found and what is added, for people.
    """

    activation: Activation
    added: Activation
    note: str


def find_ending(output: Tensor) -> Ending:
    """Find the operation that made the output of a graph without function calls."""
    made = _skip_reshaping(output)
    if made.op.type in ACTIVATIONS:
        return Ending(ACTIVATIONS[made.op.type], made.op.type, made.op.inputs[0])
    return Ending("none" if _are_scores(made) else None, made.op.type, output)


def choose_activation(ending: Ending, card: Card, scores: int, are_probabilities: Callable[[], bool]) -> Choice:
    """Choose the activation by what the network ends in, what the card says and what the task needs, in this order.

    Args:
        ending: What the network ends in.
        card: Card of the network; its activation `none` leaves the choice open.
        scores: Number of scores for an image.
        are_probabilities: Tells whether the outputs for test images are probabilities of the card's task.

    Raises:
        ActivationError: They contradict each other.
    """
    stated, fitting = card.output.activation, activation_of_logits(card, scores)
    found = ending.activation
    if found in {"softmax", "sigmoid"}:
        _require_agreement(found, stated, fitting, card)
        return Choice(found, "none", f"The network ends in {found}; none was added.")
    is_exclusive = fitting == "softmax"
    if (is_exclusive or (found is None and stated == "none")) and are_probabilities():
        return Choice("none", "none", f"The network's outputs ({ending.operation}) are probabilities; none was added.")
    if found == "none":
        added = fitting if stated == "none" else stated
        return Choice(added, added, f"The network ends in scores ({ending.operation}); {added} was added.")
    note = f"{stated} was added, as the card says" if stated != "none" else "none was added"
    return Choice(stated, stated, f"The network ends in {ending.operation}, which is not a known activation; {note}.")


def _require_agreement(found: Activation, stated: Activation, fitting: Activation, card: Card) -> None:
    if found != fitting:
        remedy = (
            'set "task" to "multiclass" in the card, if exactly one label is right'
            if found == "softmax"
            else 'set "task" to "multilabel" in the card, if several labels may be right'
        )
        raise ActivationError(
            f'the network ends in {found}, but the task "{card.task}" with {len(card.labels)} labels needs {fitting};'
            f" {remedy}, or export the network again without {found}"
        )
    if stated not in {"none", found}:
        raise ActivationError(
            f'the network ends in {found}, but the card says "activation": "{stated}"; remove output.activation from'
            " the card, or export the network again without its activation"
        )


def _skip_reshaping(tensor: Tensor) -> Tensor:
    while tensor.op.type in RESHAPING and len(tensor.op.inputs):
        tensor = tensor.op.inputs[0]
    return tensor


def _are_scores(tensor: Tensor) -> bool:
    if tensor.op.type in LINEAR:
        return True
    if tensor.op.type not in SCALING:
        return False
    computed = [source for source in tensor.op.inputs if _skip_reshaping(source).op.type != "Const"]
    return bool(computed) and all(map(_are_scores, computed))
