"""Record the class scores that PyTorch's own networks compute with generated weights.

    python -m tests.train.recorded.record_torch_networks tests/train/recorded/torch_networks.json.xz

runs at the root of the repository and needs torch 2.14, torchvision 0.29, timm 1.0 and efficientnet_pytorch 0.7, which
are no dependencies of the project. Only names, shapes, variances and scores are written:
`tests.support.generated_weights` generates the weights again from them.
"""

import argparse
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from efficientnet_pytorch import EfficientNet
from torch import nn
from torchvision import models

from tests.support.generated_weights import CLASSES, generate_images, generate_statistics, generate_weights

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "convnext_tiny"),
)
TIMM = (
    *("resnet50", "resnet26d", "resnet50d", "mobilenetv2_100"),
    *("mobilenetv3_small_100", "mobilenetv3_large_100", "tf_mobilenetv3_small_100", "tf_mobilenetv3_large_100"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3"),
    *("tf_efficientnet_b0", "tf_efficientnet_b1", "tf_efficientnet_b2", "tf_efficientnet_b3"),
    *("efficientnet_lite0", "tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"),
    *("tf_efficientnet_lite3", "tf_efficientnet_lite4", "convnext_atto", "convnext_tiny"),
)
EFFICIENTNET_PYTORCH = ("efficientnet-b0", "efficientnet-b3")
MIN_DIFFERENCE = 0.1
"""Largest difference between the two images' scores that a network must have at least."""


def build_networks() -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each network and the network, without numbers."""
    for name in TORCHVISION:
        yield f"torchvision {name}", models.get_model(name, num_classes=CLASSES)
    for name in TIMM:
        yield f"timm {name}", timm.create_model(name, num_classes=CLASSES)
    for name in EFFICIENTNET_PYTORCH:
        yield f"efficientnet_pytorch {name}", EfficientNet.from_name(name, num_classes=CLASSES, image_size=None)


def calibrate(network: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Set the statistics of each batch normalisation to what it takes, and return the mean variances by its name."""
    variances: dict[str, float] = {}

    def observe(name: str) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def hook(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            variances[name] = float(f"{inputs[0].var(dim=(0, 2, 3)).mean():.3g}")
            mean, variance = generate_statistics(name, norm.num_features, variances[name])
            norm.running_mean.copy_(torch.from_numpy(mean))
            norm.running_var.copy_(torch.from_numpy(variance))

        return hook

    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(observe(name)) for name, norm in norms]
    network(images)
    for hook in hooks:
        hook.remove()
    return variances


@torch.no_grad()
def record(network: nn.Module) -> dict[str, object]:
    """Return the names and shapes of the tensors, the variances and the scores of a network."""
    network.to_empty(device="cpu").eval()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    norms = [name.removesuffix(".running_var") for name in shapes if name.endswith(".running_var")]
    weights = generate_weights(shapes, dict.fromkeys(norms, 1.0))
    network.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})
    images = torch.from_numpy(generate_images())
    variances = calibrate(network, images)
    scores = network(images)
    if (scores[0] - scores[1]).abs().max() < MIN_DIFFERENCE:
        raise ValueError(f"the scores do not depend on the image: {scores}")
    return {"tensors": shapes, "variances": variances, "scores": scores.tolist()}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("file", type=Path)
    recorded = {}
    file = arguments.parse_args().file
    with torch.device("meta"):  # does not fill the weights
        networks = list(build_networks())
    for name, network in networks:
        recorded[name] = record(network)
        print(name, recorded[name]["scores"])  # noqa: T201  # progress of a long program
    file.write_bytes(lzma.compress(json.dumps(recorded, separators=(",", ":")).encode(), preset=9))


if __name__ == "__main__":
    main()
