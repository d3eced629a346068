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
    last = _skip_reshaping(output)
    if last.op.type in ACTIVATIONS:
        return Ending(ACTIVATIONS[last.op.type], last.op.type, last.op.inputs[0])
    return Ending("none" if _are_scores(last) else None, last.op.type, output)


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
    in_card, usual = card.output.activation, activation_of_logits(card, scores)
    own = ending.activation
    if own in {"softmax", "sigmoid"}:
        _require_agreement(own, in_card, usual, card)
        return Choice(own, "none", f"The network ends in {own}; none was added.")
    is_exclusive = usual == "softmax"
    if (is_exclusive or (own is None and in_card == "none")) and are_probabilities():
        return Choice("none", "none", f"The network's outputs ({ending.operation}) are probabilities; none was added.")
    if own == "none":
        added = usual if in_card == "none" else in_card
        return Choice(added, added, f"The network ends in scores ({ending.operation}); {added} was added.")
    note = f"{in_card} was added, as the card says" if in_card != "none" else "none was added"
    return Choice(in_card, in_card, f"The network ends in {ending.operation}, which is not a known activation; {note}.")


def _require_agreement(own: Activation, in_card: Activation, usual: Activation, card: Card) -> None:
    if own != usual:
        remedy = (
            'set "task" to "multiclass" in the card, if exactly one label is right'
            if own == "softmax"
            else 'set "task" to "multilabel" in the card, if several labels may be right'
        )
        raise ActivationError(
            f'the network ends in {own}, but the task "{card.task}" with {len(card.labels)} labels needs {usual};'
            f" {remedy}, or export the network again without {own}"
        )
    if in_card not in {"none", own}:
        raise ActivationError(
            f'the network ends in {own}, but the card says "activation": "{in_card}"; remove output.activation from'
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
