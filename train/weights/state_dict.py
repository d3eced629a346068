"""Find the weights of a network in what a training program saved, and the names that they have in the network."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from train.weights.pickle_opcodes import ForbiddenError
from train.weights.tensors import MAX_QUOTED, Array, Tensors
from train.weights.torch_pickle import Placeholder, TensorView

MAX_DEPTH = 8
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
"""Keys under which training programs store state dictionaries, the most telling first."""
AVERAGE = re.compile(r"(^|_)(ema|swa)(_|$)|averag", re.IGNORECASE)
"""Keys of averages over the training, which are used if the file has no weights beside them."""
PREFIXES = (
    *("module", "model", "backbone", "_orig_mod", "net", "network", "encoder", "feature_extractor", "base_model"),
    *("resnet", "mobilenet", "efficientnet", "convnext"),
)
"""Names of attributes in which training programs keep the network, besides a loss function or a last layer."""
ARCHITECTURE_KEYS = ("arch", "architecture", "model_name")
NOT_OF_THE_NETWORK = re.compile(
    r"(criterion|\w*loss\w*|\w*metrics?|(train|val|valid|test)_\w+|n_averaged)(\.|$)|.*\btotal_(ops|params)$"
)
"""Losses and metrics that a training program keeps beside its network, and counts of averages and operations."""

Keys: TypeAlias = tuple[str | int, ...]
"""Keys of dictionaries and positions in lists and tuples that lead to an object."""


class Source(NamedTuple):
    """Where the tensors of a network are in a file.

    Attributes:
        keys: What leads to the state dictionary.
        names: Names of the tensors in it, by those that they have in the network.
        others: What leads to further state dictionaries, which are not used.
        unused_names: Names of the tensors in it that are not of the network.
    """

    keys: Keys = ()
    names: Mapping[str, str] = {}
    others: tuple[Keys, ...] = ()
    unused_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say which of several state dictionaries is used and what is removed from it; empty if it is used as it is."""
        notes = []
        if self.others:
            others = ", ".join(map(_show_keys, self.others))
            notes.append(f"the tensors of {_show_keys(self.keys)} are used, not those of {others}")
        if prefixes := {stored_name.removesuffix(name) for name, stored_name in self.names.items()} - {""}:
            quotes = ", ".join(f'"{prefix}"' for prefix in sorted(prefixes))
            notes.append(f"removed from the start of their names: {quotes}")
        if self.unused_names:
            more = ", …" if len(self.unused_names) > MAX_QUOTED else ""
            notes.append(f"left out: {', '.join(self.unused_names[:MAX_QUOTED])}{more}")
        return "; ".join(notes)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint(Mapping[str, Array]):
    """The tensors of a file, by name, and what the file says beside them.

    Attributes:
        tensors: The tensors, without the prefixes that all or most of their names shared.
        path: The file.
        architecture: Name of the network, if the training program saved it: `tf_efficientnet_b0`.
        source: Where the tensors are in the file.
    """

    tensors: Tensors
    path: Path
    architecture: str = ""
    source: Source = field(default_factory=Source)

    def __getitem__(self, name: str) -> Array:
        """Return a tensor."""
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.tensors)


class StateDict(NamedTuple):
    """Tensors of a dictionary, and what leads to it.

    Attributes:
        keys: What leads to it.
        tensors: Its tensors by name.
        others: What leads to further state dictionaries of the file.
    """

    keys: Keys
    tensors: Mapping[str, TensorView]
    others: tuple[Keys, ...] = ()

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Its place among all state dictionaries of a file; the first one is used."""
        wrappers = [WRAPPERS.index(key) for key in self.keys if key in WRAPPERS]
        is_average = any(AVERAGE.search(key) for key in self.keys if isinstance(key, str))
        return is_average, min(wrappers, default=len(WRAPPERS)), -len(self.tensors)

    @property
    def has_kernels(self) -> bool:
        """Whether it can be of a network, rather than single numbers such as the best accuracy."""
        return any(len(tensor.shape) > 1 for tensor in self.tensors.values())


def find_state_dict(root: object) -> StateDict:
    """Return the state dictionary in an unpickled object: itself, or anywhere in dictionaries, lists and tuples.

    Raises:
        ForbiddenError: There is none.
    """
    states = sorted(_state_dicts(root, (), set()), key=lambda state: state.rank)
    if states:
        others = tuple(state.keys for state in states[1:] if state.has_kernels)
        return states[0]._replace(others=others)
    if isinstance(root, Placeholder) and root.is_module is False:
        raise ForbiddenError(
            f"it contains an object of the class {root.origin}, which is not read; save the dictionary of tensors in "
            "it, such as its state_dict, alone"
        )
    if networks := sorted({network.origin for network in _pickled_networks(root)}):
        raise ForbiddenError(
            f"it contains a whole pickled network, {networks[0]}, which cannot be read without the program that it "
            "belongs to; load it there and save model.state_dict()"
        )
    raise ForbiddenError("it contains no tensors with names")


def find_architecture(root: object) -> str:
    """Return the name of the network that a training program saved beside its weights, or nothing."""
    names = [root.get(key) for key in ARCHITECTURE_KEYS] if isinstance(root, dict) else []
    return next((name for name in names if isinstance(name, str)), "")


def to_checkpoint(
    tensors: Tensors, path: Path, architecture: str = "", keys: Keys = (), others: tuple[Keys, ...] = ()
) -> Checkpoint:
    """Return the tensors of a state dictionary as a checkpoint; the arguments are as in `Checkpoint` and `Source`."""
    names = strip_prefixes(tensors)
    unused_names = tuple(sorted(tensors.keys() - names.values()))
    network = {name: tensors[stored_name] for name, stored_name in names.items()}
    return Checkpoint(network, path, architecture, Source(keys, names, others, unused_names))


def strip_prefixes(stored_names: Iterable[str]) -> dict[str, str]:
    """Return the names of tensors in a file, by those that they have in the network.

    A first part that all names share is removed, however it is called; one in `PREFIXES` if more than half of the names
    have it, since a last layer may stand beside the network. `NOT_OF_THE_NETWORK` is left out.
    """
    names = {stored_name: stored_name for stored_name in stored_names if not NOT_OF_THE_NETWORK.match(stored_name)}
    while prefix := _shared_prefix(list(names.values())):
        shorter_names = {stored_name: name.removeprefix(prefix) for stored_name, name in names.items()}
        if len(set(shorter_names.values())) < len(names):
            break
        names = shorter_names
    return {name: stored_name for stored_name, name in names.items()}


def _shared_prefix(names: Sequence[str]) -> str:
    """Return the first part, with its dot, that is to be removed from the names that have it, or nothing."""
    counts = Counter(name.partition(".")[0] for name in names if "." in name)
    for first, count in counts.most_common(1):
        is_shared_by_all = count == len(names) and any("." in name[len(first) + 1 :] for name in names)
        if is_shared_by_all or (first in PREFIXES and 2 * count > len(names)):
            return f"{first}."
    return ""


def _state_dicts(root: object, keys: Keys, visited_ids: set[int]) -> Iterator[StateDict]:
    """Yield every dictionary with tensors under names, each once."""
    if id(root) in visited_ids or len(keys) > MAX_DEPTH:
        return
    items = _items(root)
    if not items:
        return
    visited_ids.add(id(root))
    if tensors := {key: value for key, value in items if isinstance(key, str) and isinstance(value, TensorView)}:
        yield StateDict(keys, tensors)
    for key, value in items:
        yield from _state_dicts(value, (*keys, key), visited_ids)


def _items(root: Any) -> list[tuple[str | int, object]]:
    """Return what a dictionary contains under names, or a list or tuple under numbers."""
    if isinstance(root, dict):
        return [(key, value) for key, value in root.items() if isinstance(key, str)]
    return list(enumerate(root)) if type(root) in {list, tuple} else []  # a TensorView is a tuple of another type


def _show_keys(keys: Keys) -> str:
    return ".".join(f"item {key}" if isinstance(key, int) else key for key in keys) or "the top level"


def _pickled_networks(root: object) -> Iterator[Placeholder]:
    for value in (root, *(value for _, value in _items(root))):
        if isinstance(value, Placeholder) and (value.is_module or value is root):
            yield value
