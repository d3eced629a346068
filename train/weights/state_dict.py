"""Find the weights of a network in what a training program saved, and the names that they have in the network."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from train.weights.tensors import Array, Tensors
from train.weights.torch_pickle import ForbiddenError, Placeholder, TensorView

MAX_DEPTH = 8
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
"""Keys under which training programs store state dictionaries, the most telling first."""
AVERAGE = re.compile(r"(^|_)(ema|swa)(_|$)|averag", re.IGNORECASE)
"""Keys of averages over the training, which are used if the file has no weights beside them."""
PREFIXES = ("module", "model", "backbone", "_orig_mod", "net", "network", "encoder")
"""Names of attributes in which training programs keep the network, besides a loss function or a last layer."""
ARCHITECTURE_KEYS = ("arch", "architecture", "model_name")
NOT_OF_THE_NETWORK = re.compile(
    r"(criterion|\w*loss\w*|\w*metrics?|(train|val|valid|test)_\w+|n_averaged)(\.|$)|.*\btotal_(ops|params)$"
)
"""Losses and metrics that a training program keeps beside its network, and counts of averages and operations."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint(Mapping[str, Array]):
    """The tensors of a file, by name, and what the file says beside them.

    Attributes:
        tensors: The tensors, without the prefixes that all or most of their names shared.
        path: The file.
        architecture: Name of the network, if the training program saved it: `tf_efficientnet_b0`.
    """

    tensors: Tensors
    path: Path
    architecture: str = ""

    def __getitem__(self, name: str) -> Array:
        """Return a tensor."""
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.tensors)


class _StateDict(NamedTuple):
    """Tensors of a dictionary, and the keys that lead to it."""

    keys: tuple[str, ...]
    tensors: Mapping[str, TensorView]

    def __str__(self) -> str:
        return ".".join(self.keys) or "the top level"

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Its place among all state dictionaries of a file; the first one is used."""
        wrappers = [WRAPPERS.index(key) for key in self.keys if key in WRAPPERS]
        is_average = any(AVERAGE.search(key) for key in self.keys)
        return is_average, min(wrappers, default=len(WRAPPERS)), -len(self.tensors)


def find_state_dict(saved: object) -> Mapping[str, TensorView]:
    """Return the state dictionary in an unpickled object: itself, or below any keys of nested dictionaries.

    Raises:
        ForbiddenError: There is none.
    """
    found = sorted(_state_dicts(saved, (), set()), key=lambda state: state.rank)
    if len(found) > 1:
        logger.info("the tensors of %s are used, not those of %s", found[0], ", ".join(map(str, found[1:])))
    if found:
        return found[0].tensors
    if networks := sorted({network.origin for network in _pickled_networks(saved)}):
        raise ForbiddenError(
            f"it contains a whole pickled network, {networks[0]}, which cannot be read without the program that it "
            "belongs to; load it there and save model.state_dict()"
        )
    raise ForbiddenError("it contains no tensors")


def find_architecture(saved: object) -> str:
    """Return the name of the network that a training program saved beside its weights, or nothing."""
    names = [saved.get(key) for key in ARCHITECTURE_KEYS] if isinstance(saved, dict) else []
    return next((name for name in names if isinstance(name, str)), "")


def strip_prefixes(tensors: Tensors) -> Tensors:
    """Return tensors by the names that they have in the network.

    A first part that all names share is removed, however it is called; one in `PREFIXES` if more than half of the names
    have it, since a last layer may stand beside the network. `NOT_OF_THE_NETWORK` is left out.
    """
    names = {name: name for name in tensors if not NOT_OF_THE_NETWORK.match(name)}
    while prefix := _shared_prefix(list(names.values())):
        stripped = {name: short.removeprefix(prefix) for name, short in names.items()}
        if len(set(stripped.values())) < len(names):
            break
        names = stripped
    return {short: tensors[name] for name, short in names.items()}


def _shared_prefix(names: Sequence[str]) -> str:
    """Return the first part, with its dot, that is to be removed from the names that have it, or nothing."""
    counts = Counter(name.partition(".")[0] for name in names if "." in name)
    for first, count in counts.most_common(1):
        is_shared_by_all = count == len(names) and any("." in name[len(first) + 1 :] for name in names)
        if is_shared_by_all or (first in PREFIXES and 2 * count > len(names)):
            return f"{first}."
    return ""


def _state_dicts(saved: object, keys: tuple[str, ...], visited: set[int]) -> Iterator[_StateDict]:
    """Yield every dictionary with tensors under names, each once."""
    if not isinstance(saved, dict) or id(saved) in visited or len(keys) > MAX_DEPTH:
        return
    visited.add(id(saved))
    items = {key: value for key, value in saved.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in items.items() if isinstance(value, TensorView)}:
        yield _StateDict(keys, tensors)
    for key, value in items.items():
        yield from _state_dicts(value, (*keys, key), visited)


def _pickled_networks(saved: object) -> Iterator[Placeholder]:
    values: list[Any] = list(saved.values()) if isinstance(saved, dict) else []
    for value in (saved, *values):
        if isinstance(value, Placeholder) and (value.is_module or value is saved):
            yield value
