"""Record what PyTorch returns with a checkpoint, so that an import can be compared with it.

    python record_torch.py CHECKPOINT OUTPUT --network torchvision.models:resnet18 --labels 7 --input JSON < SOURCE

This script stands alone: it runs in an environment that has torch and numpy, and imports nothing of this project.
`python -m train record-torch` runs it there. SOURCE is JSON with `keys`, which lead to the state dictionary in the
checkpoint, and `names`, the names of its tensors by those without prefixes, as in `train.weights.state_dict.Source`.
"""

import argparse
import ast
import importlib
import json
import pickle
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TENSOR_GLOBALS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._tensor", "_rebuild_from_type_v2"),
}
"""Functions and classes of which dictionaries of tensors consist, apart from storages."""


class Placeholder:
    """Stands in for an object of any other class beside the tensors, such as the options of the training."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object) -> "Placeholder":
        """Return itself, whatever the arguments."""
        return self

    def __setstate__(self, _: object) -> None:
        """Ignore attributes."""

    def __setitem__(self, _: object, __: object) -> None:
        """Ignore an item with a key."""

    def append(self, _: object) -> None:
        """Ignore an item."""

    add = extend = append


class TensorUnpickler(pickle.Unpickler):
    """An unpickler that gives the pickle the globals of `TENSOR_GLOBALS`, and a placeholder instead of all others."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return a global."""
        if (module_name, global_name) in TENSOR_GLOBALS:
            return super().find_class(module_name, global_name)
        return Placeholder


PICKLE_MODULE = types.SimpleNamespace(
    __name__="pickle", Unpickler=TensorUnpickler, load=lambda file, **options: TensorUnpickler(file, **options).load()
)
"""What `torch.load` uses of the module `pickle`."""


def main() -> None:
    """Build the network, load its weights, and record its outputs for made pictures."""
    options = parse_options()
    sys.path[0] = str(Path.cwd())  # where a module of the network may be, instead of the folder of this script
    torch = importlib.import_module("torch")
    network = build_network(options.network, options.arg, options.labels)
    source = json.load(sys.stdin)
    state = read_state(options.checkpoint, source["keys"], torch)
    network.load_state_dict(fit_names(state, network.state_dict(), source["names"]))
    spec = json.loads(options.input)
    images = make_images(options.images, spec["height"], spec["width"], spec["channels"])
    inputs = (images - np.array(spec["mean"] or 0.0)) / np.array(spec["std"] or 1.0)
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(inputs.astype(np.float32).transpose(0, 3, 1, 2).copy()))
    framework = f"PyTorch {torch.__version__}"
    np.savez_compressed(
        options.output, images=images, outputs=outputs.numpy(), framework=framework, network=options.network
    )
    print(f"{options.output}: {len(images)} pictures, outputs {list(outputs.shape)} of {framework}")  # noqa: T201  # its result


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--network", required=True, help="module:factory")
    parser.add_argument("--arg", action="append", default=[], help="key=value for the factory; repeatable")
    parser.add_argument("--labels", type=int, required=True, help="number of labels")
    parser.add_argument("--input", required=True, help="JSON with height, width, channels, mean and std")
    parser.add_argument("--images", type=int, default=8, help="number of pictures")
    return parser.parse_args()


def build_network(name: str, arguments: list[str], labels: int) -> Any:
    """Call `module:factory` with `num_classes`, unless the arguments name it, and with the arguments."""
    module, _, factory = name.partition(":")
    options: dict[str, Any] = {"num_classes": labels}
    for argument in arguments:
        key, _, value = argument.partition("=")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    if options["num_classes"] is None:
        del options["num_classes"]
    return getattr(importlib.import_module(module), factory)(**options)


def read_state(path: Path, keys: Sequence[Any], torch: Any) -> Mapping[str, Any]:
    """Read the state dictionary to which keys lead in a checkpoint, without running code from it."""
    if path.suffix == ".safetensors":
        return dict(importlib.import_module("safetensors.torch").load_file(path))
    state = torch.load(path, map_location="cpu", weights_only=False, pickle_module=PICKLE_MODULE)
    for key in keys:
        state = state[key]
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


def fit_names(state: Mapping[str, Any], expected: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the tensors under the names that the network expects.

    Args:
        state: Tensors by their names in the checkpoint, which may have a prefix in common.
        expected: Tensors of the network by name.
        names: Names in the checkpoint by those without prefixes, for prefixes that only some names have.

    Raises:
        SystemExit: There are no tensors of these names.
    """
    first = next(iter(expected))
    for tensors in (state, {name: state[stored_name] for name, stored_name in names.items()}):
        for prefix in (name.removesuffix(first) for name in tensors if name.endswith(first)):
            if all(prefix + name in tensors for name in expected):
                return {name: tensors[prefix + name] for name in expected}
    stored_names, network_names = ", ".join(list(state)[:5]), ", ".join(list(expected)[:5])
    raise SystemExit(
        f"error: the checkpoint is of another network: it has {stored_names} …, the network has {network_names} …"
    )


def make_images(count: int, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return pictures of coloured waves and noise, always the same: uint8[N, H, W, C]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    images = []
    for _ in range(count):
        frequencies, phases = random.uniform(-8, 8, (2, channels, 1, 1)), random.uniform(0, 6, (channels, 1, 1))
        waves = np.sin(frequencies[0] * rows + frequencies[1] * columns + phases)
        noise = random.normal(0, random.uniform(5, 60), waves.shape)
        images.append(np.clip(127.5 + 100 * waves + noise, 0, 255).transpose(1, 2, 0))
    return np.array(images).astype(np.uint8)


if __name__ == "__main__":
    main()
