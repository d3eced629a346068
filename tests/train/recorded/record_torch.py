"""Record files that PyTorch writes: small residual networks with their class scores, and what programs save.

    python tests/train/recorded/record_torch.py tests/train/recorded

needs torch 2.14, which is not a dependency of the project, numpy and safetensors. `--full` writes networks of full
width instead, which are too large to commit. Names, strides, padding and order are those of
torchvision/models/resnet.py and https://github.com/kuangliu/pytorch-cifar, models/resnet.py.
"""

import argparse
import datetime as dt
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Block(nn.Module):
    """Two 3x3 convolutions or, if `deep`, a bottleneck of 1x1, 3x3 and 1x1 to four times the width."""

    def __init__(self, into: int, width: int, stride: int, shortcut: str, *, deep: bool) -> None:
        super().__init__()
        out = width * 4 if deep else width
        shapes = [(into, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        plain = [(into, width, 3, stride), (width, width, 3, 1)]
        self.count = 3 if deep else 2
        self.down = shortcut
        for index, (inputs, outputs, size, step) in enumerate(shapes if deep else plain, 1):
            setattr(self, f"conv{index}", nn.Conv2d(inputs, outputs, size, step, size // 2, bias=False))
            setattr(self, f"bn{index}", nn.BatchNorm2d(outputs))
        if stride > 1 or into != out:
            down = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            setattr(self, shortcut, down)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for index in range(1, self.count + 1):
            residual = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(residual))
            if index < self.count:
                residual = torch.relu(residual)
        return torch.relu(residual + (getattr(self, self.down)(x) if hasattr(self, self.down) else x))


class ResNet(nn.Module):
    """A residual network in the layout of torchvision or, if `small`, in the one common for CIFAR."""

    def __init__(self, blocks: list[int], width: int, classes: int, *, deep: bool, small: bool) -> None:
        super().__init__()
        self.small = small
        self.conv1 = nn.Conv2d(3, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        into, shortcut = width, "shortcut" if small else "downsample"
        for stage, count in enumerate(blocks):
            sequence = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                sequence.append(Block(into, width << stage, stride, shortcut, deep=deep))
                into = (width << stage) * (4 if deep else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*sequence))
        setattr(self, "linear" if small else "fc", nn.Linear(into, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        if not self.small:
            x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return getattr(self, "linear" if self.small else "fc")(x.mean(dim=(2, 3)))


def randomise(network: ResNet) -> ResNet:
    """Set random batch normalisation parameters and collect its statistics from random images."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    for _ in range(30):
        network(torch.randn(8, 3, 45, 64))
    return network.eval()


class Tiny(nn.Module):
    """The smallest network with names of a ResNet. Its weights are `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 1, bias=False)
        self.fc = nn.Linear(2, 3)
        for parameter in self.parameters():
            nn.init.constant_(parameter, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv1(x).mean(dim=(2, 3)))


class Task(nn.Module):
    """What trains a network: keeps the weights of its loss function beside it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network
        self.criterion = nn.CrossEntropyLoss(torch.ones(3))


def save_checkpoints(folder: Path) -> None:
    """Save what training programs save. Weights that are to be read are 1, others 2."""
    network, other = Tiny(1), Tiny(2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0)
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    optimizer.step()
    weights = network.state_dict()
    options = argparse.Namespace(lr=0.1, output=Path("runs"), device=torch.device("cpu"), dtype=torch.float16)
    optimizer_state = optimizer.state_dict()
    checkpoints = {
        "loop.pth.tar": {
            "epoch": 3,
            "arch": "resnet18",
            "best_acc1": torch.tensor(93.0),
            "optimizer": optimizer_state,
            "state_dict": nn.DataParallel(network).state_dict(),
        },
        "references.pth": {
            "model": weights,
            "optimizer": optimizer_state,
            "args": options,
            "model_ema": other.state_dict(),
        },
        "options.pt": {
            "net": weights,
            "options": options,
            "best": np.float64(0.93),
            "dtype": np.dtype("float32"),
            "saved": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            "shape": torch.Size([3, 224, 224]),
            "seen": {1, 2},
            "history": defaultdict(list, loss=[0.1]),
            "space": types.SimpleNamespace(width=2),
            "complex": torch.zeros(2, dtype=torch.complex64),
        },
        "lightning.ckpt": {
            "state_dict": Task(network).state_dict(),
            "hyper_parameters": options,
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        },
        "compiled.pt": OrderedDict((f"_orig_mod.{name}", tensor) for name, tensor in weights.items()),
        "averaged.pt": {"ema": AveragedModel(network).state_dict()},
        "average_beside.pt": {"ema_state_dict": other.state_dict(), "weights": weights},
        "nested.bin": {
            "checkpoint": {"trainer": {"module": {f"module.model.{name}": weights[name] for name in weights}}}
        },
        "parameters.pt": dict(network.named_parameters()),
        "network.pt": network,
        "network_beside.pt": {"model": network, "epoch": 3},
    }
    for name, saved in checkpoints.items():
        torch.save(saved, folder / name)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--full", action="store_true")
    options = arguments.parse_args()
    full, folder = options.full, options.folder
    (folder / "checkpoints").mkdir(exist_ok=True)
    save_checkpoints(folder / "checkpoints")
    torch.manual_seed(0)
    kinds = {
        "torchvision_resnet18": ResNet([2, 2, 2, 2], 64 if full else 4, 1000 if full else 7, deep=False, small=False),
        "torchvision_resnet50": ResNet([3, 4, 6, 3], 64 if full else 2, 1000 if full else 7, deep=True, small=False),
        "cifar_resnet18": ResNet([2, 2, 2, 2], 64 if full else 4, 10, deep=False, small=True),
    }
    images = np.random.default_rng(0).normal(size=(2, 3, 45, 64)).astype(np.float32)
    scores = {}
    for name, network in kinds.items():
        with torch.no_grad():
            scores[name] = randomise(network)(torch.from_numpy(images)).numpy()
    torch.save(kinds["torchvision_resnet18"].state_dict(), folder / "torchvision_resnet18.pth")
    save_file(kinds["torchvision_resnet50"].state_dict(), folder / "torchvision_resnet50.safetensors")
    wrapped = {"net": nn.DataParallel(kinds["cifar_resnet18"]).state_dict(), "acc": 95.47, "epoch": 199}
    torch.save(wrapped, folder / "cifar_resnet18.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "torch_answers.npz", **scores)


if __name__ == "__main__":
    main()
