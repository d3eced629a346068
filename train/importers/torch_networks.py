"""Build a network from a PyTorch checkpoint, which contains weights but not what is computed with them."""

import re

import keras

from train.importers.architectures import convnext, inverted_residual, resnet
from train.importers.architectures.families import find_family
from train.importers.architectures.inverted_residual import TF_PREFIX, Variant
from train.weights.state_dict import Checkpoint
from train.weights.tensors import MAX_QUOTED, Tensors, WeightsFileError

ONNX_HINT = "Export the network to ONNX (torch.onnx.export), and import that file with: python -m train import-onnx"
TIMM_NAME = re.compile(rf"(hf-hub:)?(timm/)?(?P<tf>{TF_PREFIX})?(efficientnet|mobilenet)")
"""Start of timm's names of networks of which there are two with the same tensors."""
SUPPORTED = "ResNet, Wide ResNet, ResNeXt, MobileNetV2, MobileNetV3, EfficientNet, EfficientNet-Lite and ConvNeXt"


def network_from_torch(tensors: Tensors, variant: Variant | None = None) -> keras.Model:
    """Build the network that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by PyTorch's names, such as a `Checkpoint`.
        variant: Which network is meant where timm has two with the same tensors. None for what the checkpoint or the
            name of its file says, and `plain` if they say nothing.

    Returns:
        A model from float32[N, H, W, C], normalised as in training, to float32[N, K] class scores (logits), as
        PyTorch's module returns them. Its name is that of the architecture, such as `resnet50`. It ends in the layers
        `POOL` and `HEAD`, with further layers between them in MobileNetV3 and ConvNeXt.

    Raises:
        WeightsFileError: The tensors belong to a network of an unknown kind, or do not match one of a known kind, or
            one of them is empty.
    """
    _require_values(tensors)
    family = find_family(tensors)
    try:
        match family:
            case resnet.NETWORK:
                return resnet.resnet_from_torch(tensors)
            case inverted_residual.NETWORK:
                return inverted_residual.inverted_residual_from_torch(tensors, variant or _find_variant(tensors))
            case convnext.NETWORK:
                return convnext.convnext_from_torch(tensors)
    except WeightsFileError as error:
        raise WeightsFileError(
            f"{_describe(tensors)} are most like those of {family}, but do not fit it: {error}. {ONNX_HINT}"
        ) from error
    like = f"are those of {family}" if family else "are of an unknown network"
    raise WeightsFileError(
        f"{_describe(tensors)} {like}, which cannot be built here; expected {SUPPORTED}. {ONNX_HINT}"
    )


def _require_values(tensors: Tensors) -> None:
    for name, array in tensors.items():
        if not array.size:
            raise WeightsFileError(
                f"{_quote_file(tensors)}the tensor {name} of shape {array.shape} is empty; a last layer has a row for "
                "each class. Save the weights of a trained network with its last layer"
            )


def _quote_file(tensors: Tensors) -> str:
    return f"{tensors.path}: " if isinstance(tensors, Checkpoint) else ""


def _describe(tensors: Tensors) -> str:
    names = ", ".join(list(tensors)[:MAX_QUOTED])
    return f"{_quote_file(tensors)}the {len(tensors)} tensors ({names}{', …' if len(tensors) > MAX_QUOTED else ''})"


def _find_variant(tensors: Tensors) -> Variant | None:
    """Return what the training program or the name of the file says, or None."""
    if not isinstance(tensors, Checkpoint):
        return None
    if architecture := TIMM_NAME.match(tensors.architecture):
        return "tf" if architecture["tf"] else "plain"
    return "tf" if re.match(rf"(timm[-_.])?{TF_PREFIX}", tensors.path.name) else None
