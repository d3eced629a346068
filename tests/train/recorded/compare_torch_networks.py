"""Print a table of all recorded networks with the largest difference of a class score from PyTorch's.

    python -m tests.train.recorded.compare_torch_networks

runs at the root of the repository and takes some minutes; docs/guides/bring_your_own_model.md has the table.
"""

from collections.abc import Iterable

import keras

from tests.support.recorded_networks import build_network, largest_difference, read_networks

BLOCKS = ("layer1.0.", "features.1.", "blocks.0.0.", "_blocks.0.", "stages.0.blocks.0.")
"""What the names of the tensors in the first block start with, in each layout."""


def find_key(tensors: Iterable[str]) -> str:
    """Return the name of the first kernel of the first block, which tells the layout."""
    return next(name for name in tensors if name.startswith(BLOCKS) and name.endswith(".weight"))


def main() -> None:
    """Print a row for each library and layout, in Markdown."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for network, record in read_networks().items():
        library, name = network.split()
        model = build_network(network)
        rows.setdefault((library, find_key(record["tensors"])), {})[name] = largest_difference(network, model)
        keras.backend.clear_session()
    print("| source | networks | first kernel | largest difference |\n|---|---|---|---|")  # noqa: T201
    for (library, key), differences in rows.items():
        names = ", ".join(f"`{name}`" for name in differences)
        print(f"| {library} | {names} | `{key}` | {max(differences.values()):.0e} |")  # noqa: T201


if __name__ == "__main__":
    main()
