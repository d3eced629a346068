"""Record what PyTorch returns with a checkpoint, so that an import can be compared with it.

    python record_torch.py CHECKPOINT OUTPUT --network torchvision.models:resnet18 --labels 7 --input JSON

This script stands alone: it runs in an environment that has torch and numpy, and imports nothing of this project.
`python -m train record-torch` runs it there.
"""

import argparse
import ast
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "net")
"""Keys under which training programs store the state dictionary."""


def main() -> None:
    """Build the network, load its weights, and record its outputs for made pictures."""
    options = parse_options()
    sys.path[0] = str(Path.cwd())  # where a module of the network may be, instead of the folder of this script
    torch = importlib.import_module("torch")
    network = build_network(options.network, options.arg, options.labels)
    network.load_state_dict(fit_names(read_state(options.checkpoint, torch), network.state_dict()))
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


def read_state(path: Path, torch: Any) -> Mapping[str, Any]:
    """Read the state dictionary of a checkpoint, at any depth, without running code from it."""
    if path.suffix == ".safetensors":
        return dict(importlib.import_module("safetensors.torch").load_file(path))
    with torch.serialization.safe_globals([argparse.Namespace]):  # beside the weights in many checkpoints
        state = torch.load(path, map_location="cpu", weights_only=True)
    while wrapper := next((key for key in WRAPPERS if isinstance(state.get(key), Mapping)), None):
        state = state[wrapper]
    return {name: value for name, value in state.items() if torch.is_tensor(value)}


def fit_names(state: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors under the names that the network expects, without a prefix that all have.

    Raises:
        SystemExit: There is no such prefix.
    """
    first = next(iter(expected))
    for prefix in (name.removesuffix(first) for name in state if name.endswith(first)):
        if all(prefix + name in state for name in expected):
            return {name: state[prefix + name] for name in expected}
    found, wanted = ", ".join(list(state)[:5]), ", ".join(list(expected)[:5])
    raise SystemExit(f"error: the checkpoint is of another network: it has {found} …, the network has {wanted} …")


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
