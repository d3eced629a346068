"""Networks that are built from PyTorch's weights compute what PyTorch computes, and others are named."""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.generated_weights import generate_weights
from tests.support.recorded_networks import (
    build_network,
    compute_scores,
    largest_difference,
    read_networks,
    recorded_weights,
)
from train.export.frozen_network import FrozenNetwork, freeze_model
from train.importers.torch_networks import network_from_torch
from train.networks.build import HEAD, POOL
from train.weights.state_dict import Checkpoint
from train.weights.tensors import Tensors, WeightsFileError
from vision.card import InputSpec

REDUNDANT = re.compile(
    r"torchvision (resnet101|wide_resnet101_2|resnext101_32x8d|efficientnet_b[124])"
    r"|timm (resnet50|(tf_)?efficientnet_b[12]|efficientnet_b3|tf_efficientnet_lite[13])"
)
"""Networks with other numbers of blocks or filters than a tested one; `compare_torch_networks.py` compares them too."""
TOLERANCE = 1e-4
NAMES = {
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "tf_mobilenetv3_small_100": "tf_mobilenet_v3_small",
    "tf_mobilenetv3_large_100": "tf_mobilenet_v3_large",
    "convnext_atto": "convnext",
    "efficientnet-b0": "efficientnet_b0",
    "efficientnet-b3": "efficientnet_b3",
}
"""Names of the models that differ from those of the libraries."""
SMALL = "timm mobilenetv3_small_100"
SPEC = InputSpec(height=32, width=32, dtype="float32", mean=(127.0,) * 3, std=(64.0,) * 3)


@pytest.mark.parametrize("network", [name for name in read_networks() if not REDUNDANT.fullmatch(name)])
def test_a_network_has_the_scores_of_pytorch(network: str):
    architecture = network.split()[1]

    model = build_network(network)

    assert largest_difference(network, model) < TOLERANCE
    assert model.name == NAMES.get(architecture, architecture)
    assert isinstance(model.get_layer(HEAD), layers.Dense)
    assert model.get_layer(HEAD).output is model.output
    assert model.get_layer(POOL).output.shape == (None, model.get_layer(POOL).input.shape[-1])


def small_resnext() -> dict[str, np.ndarray]:
    """Return the weights of a narrow ResNeXt with a block in each stage and four groups."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (8, 3, 7, 7), "fc.weight": (5, 64), "fc.bias": (5,)}
    norms = {"bn1": 8}
    channels = 8
    for stage in range(1, 5):
        width, block = 4 << stage, f"layer{stage}.0"
        shapes[f"{block}.conv1.weight"] = (width, channels, 1, 1)
        shapes[f"{block}.conv2.weight"] = (width, width // 4, 3, 3)
        shapes[f"{block}.conv3.weight"] = (width, width, 1, 1)
        shapes[f"{block}.downsample.0.weight"] = (width, channels, 1, 1)
        norms |= {f"{block}.{name}": width for name in ("bn1", "bn2", "bn3", "downsample.1")}
        channels = width
    for name, filters in norms.items():
        shapes |= {f"{name}.{part}": (filters,) for part in ("weight", "bias", "running_mean", "running_var")}
    return generate_weights(shapes, dict.fromkeys(norms, 0.1))


@pytest.fixture(scope="module")
def grouped_network() -> tuple[FrozenNetwork, np.ndarray, np.ndarray]:
    """A frozen network with grouped convolutions, images, and its probabilities of them."""
    model = network_from_torch(small_resnext())
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    probabilities = keras.ops.softmax(model((images - 127.0) / 64)).numpy()
    classifier = keras.Model(model.input, keras.layers.Softmax()(model.output))
    return freeze_model(classifier, SPEC), images, probabilities


def test_grouped_convolutions_are_served_from_a_saved_model(grouped_network: tuple, tmp_path: Path):
    network, images, probabilities = grouped_network
    module = tf.Module()
    module.function = network.function

    tf.saved_model.save(module, tmp_path, signatures=network.function)
    served = tf.saved_model.load(tmp_path).signatures["serving_default"](image=tf.constant(images))

    np.testing.assert_allclose(served["probabilities"], probabilities, atol=1e-6)
    assert np.ptp(probabilities, axis=0).max() > 1e-3, "the probabilities must differ between images"


def test_grouped_convolutions_are_converted_to_tensorflow_lite(grouped_network: tuple):
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # where TensorFlow is imported first, it warns

    network, images, probabilities = grouped_network
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.function], tf.Module())
    interpreter = Interpreter(model_content=converter.convert())
    (image,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(image["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image["index"], images)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]

    assert any(output.shape == (3, 5) and np.allclose(output, probabilities, atol=1e-5) for output in outputs)


def test_scores_of_a_network_whose_class_wraps_torchvisions(tmp_path: Path):
    from safetensors.numpy import save_file  # noqa: PLC0415

    from train.weights.checkpoints import read_checkpoint  # noqa: PLC0415

    path = tmp_path / "resnet18.safetensors"
    save_file({f"model.{name}": array for name, array in recorded_weights("torchvision resnet18").items()}, path)

    model = network_from_torch(read_checkpoint(path))

    assert largest_difference("torchvision resnet18", model) < TOLERANCE


def test_timms_two_paddings_have_other_scores():
    tensors = recorded_weights(SMALL)

    plain, tf_variant = (compute_scores(network_from_torch(tensors, variant)) for variant in ("plain", "tf"))

    assert np.abs(plain - tf_variant).max() > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("file", "architecture", "name"),
    [
        ("best.pth", "", "mobilenet_v3_small"),
        ("best.pth", "tf_mobilenetv3_small_100", "tf_mobilenet_v3_small"),
        ("tf_mobilenetv3_small_100-37f49e2b.pth", "", "tf_mobilenet_v3_small"),
        ("tf_best.pth", "mobilenetv3_small_100", "mobilenet_v3_small"),
        ("best.pth", "hf-hub:timm/tf_mobilenetv3_small_100", "tf_mobilenet_v3_small"),
        ("best.pth", "flowers", "mobilenet_v3_small"),
        ("tf_mobilenetv3_small_100.pth", "flowers", "tf_mobilenet_v3_small"),
    ],
)
def test_the_checkpoint_says_which_padding_is_meant(
    file: str, architecture: str, name: str, caplog: pytest.LogCaptureFixture
):
    checkpoint = Checkpoint(recorded_weights(SMALL), Path(file), architecture)

    model = network_from_torch(checkpoint)

    is_certain = "mobilenet" in architecture or file.startswith("tf_mobile")
    assert model.name == name
    assert ("choose the variant tf" in caplog.text) == (not is_certain)


def zeros(network: str) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in read_networks()[network]["tensors"].items()}


def move_block(tensors: dict) -> None:
    tensors |= {name.replace("blocks.4.2", "blocks.4.3"): tensors[name] for name in list(tensors) if "s.4.2." in name}


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        (
            "torchvision resnet18",
            lambda tensors: tensors.update({"layer5.0.conv1.weight": np.zeros(1)}),
            "also layer5.0",
        ),
        ("torchvision resnet18", lambda tensors: tensors.pop("layer2.0.downsample.0.weight"), "layer2.0.downsample"),
        (SMALL, move_block, "has 12 blocks; mobilenet_v3_small has 11"),
        (SMALL, lambda tensors: tensors.pop("classifier.weight"), "with the layer classifier.weight"),
        (SMALL, lambda tensors: tensors.pop("conv_stem.weight"), "there is no tensor"),
        (SMALL, lambda tensors: tensors.pop("conv_head.bias"), "no tensor conv_head.bias, .*timm's mobilenetv3_rw"),
        (
            SMALL,
            lambda tensors: tensors.update({"blocks.2.0.conv_dw.weight": np.zeros((96, 1, 3, 3))}),
            "blocks.2.0. has the side 3 of its depthwise kernel, .*; in mobilenet_v3_small it has the side 5",
        ),
        (
            SMALL,
            lambda tensors: tensors.update({"blocks.2.0.conv_dw.weight": np.zeros((96, 96, 5, 5))}),
            "conv_dw.weight is not depthwise",
        ),
        (
            SMALL,
            lambda tensors: tensors.pop("blocks.1.0.bn2.running_mean"),
            "blocks.1.0. has 3 convolutions and 2 normal",
        ),
        (
            SMALL,
            lambda tensors: tensors.update({"blocks.1.0.conv_s2d.weight": np.zeros((4, 4, 2, 2))}),
            "conv_s2d.weight",
        ),
        (
            "timm convnext_atto",
            lambda tensors: tensors.update({"stem.0.weight": np.zeros((40, 3, 3, 3))}),
            "side 4, not 3",
        ),
        ("timm convnext_atto", lambda tensors: tensors.pop("stages.0.blocks.0.mlp.fc2.bias"), "fc2.bias"),
    ],
)
def test_a_network_that_differs_from_the_nearest_is_refused(
    network: str, change: Callable[[dict], object], message: str
):
    tensors = zeros(network)
    change(tensors)

    pattern = rf"tensors \(.*, …\) are most like those of a .*: .*{message}.*import-onnx"
    with pytest.raises(WeightsFileError, match=pattern):
        network_from_torch(tensors)


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("features.0.weight", "features.0.bias", "classifier.6.weight"), "a VGG or an AlexNet"),
        (("features.conv0.weight", "features.denseblock1.denselayer1.norm1.weight"), "a DenseNet"),
        (("cls_token", "blocks.0.attn.qkv.weight"), "a vision transformer"),
        (("class_token", "encoder.layers.encoder_layer_0.ln_1.weight"), "a vision transformer"),
        (("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"), "an Inception"),
        (("stem.0.weight", "trunk_output.block1.block1-0.f.a.0.weight"), "a RegNet"),
        (("features.0.0.weight", "features.1.0.attn.relative_position_bias_table"), "a Swin Transformer"),
        (("my.layer",), "an unknown network"),
    ],
)
def test_a_network_of_another_kind_is_named(names: tuple[str, ...], family: str):
    tensors: Tensors = Checkpoint(dict.fromkeys(names, np.zeros(3)), Path("flowers.pth"))

    with pytest.raises(WeightsFileError) as refusal:
        network_from_torch(tensors)

    message = str(refusal.value)
    assert message.startswith(f"flowers.pth: the {len(names)} tensors ({', '.join(names)}) are")
    assert f"{family}, which cannot be built here" in message
    assert "python -m train import-onnx" in message
