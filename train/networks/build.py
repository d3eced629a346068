"""Builds the classifiers that a configuration can name."""

from collections.abc import Mapping

import keras
from keras import layers

from train.config.networks import Application, EfficientNetLite, NetworkConfig, ResNet18, SmallCnn, SqueezeNet
from train.networks.application import application_features
from train.networks.efficientnet_lite import efficientnet_lite_features, scale_pixels
from train.networks.squeezenet import squeezenet_features
from vision.card import Task

POOL = "pool"
"""Name of the layer that averages the last features float32[N, h, w, F] over the image."""
HEAD = "head"
"""Name of the dense layer with F x K weights that turns the average into class scores (logits)."""

ACTIVATION: Mapping[Task, str] = {"multiclass": "softmax", "multilabel": "sigmoid"}

Side = int | None


def build_model(
    config: NetworkConfig, shape: tuple[Side, Side, int], classes: int, task: Task = "multiclass"
) -> keras.Model:
    """Build a classifier: float32[N, H, W, C] of 0..255 to float32[N, K] probabilities.

    It ends in the layers `POOL` and `HEAD` and an activation, so that a class score is a weighted sum over positions
    in the image, which makes class activation maps exact (https://arxiv.org/abs/1512.04150).

    Args:
        config: Configuration of the network.
        shape: [H, W, C]; H and W may be None for images of any size.
        classes: Number of classes K.
        task: Task of the model: multiclass probabilities sum to 1, multilabel probabilities are independent.
    """
    image = keras.Input(shape, name="image")
    x = layers.GlobalAveragePooling2D(name=POOL)(_features(image, config))
    if config.dropout:
        x = layers.Dropout(config.dropout)(x)
    scores = layers.Dense(classes, dtype="float32", name=HEAD)(x)
    activation = layers.Activation(ACTIVATION[task], dtype="float32", name="probabilities")
    return keras.Model(image, activation(scores), name="classifier")


def _features(image: keras.KerasTensor, config: NetworkConfig) -> keras.KerasTensor:
    match config:
        case SmallCnn():
            return _small_cnn(image, config)
        case ResNet18():
            return _resnet18(image, config)
        case SqueezeNet():
            return squeezenet_features(image)
        case Application():
            return application_features(image, config)
        case EfficientNetLite():
            if config.upsample > 1:
                image = layers.UpSampling2D(config.upsample, interpolation="bilinear")(image)
            return efficientnet_lite_features(scale_pixels(image), config.kind)


def _small_cnn(image: keras.KerasTensor, config: SmallCnn) -> keras.KerasTensor:
    x = layers.Rescaling(1 / 255)(image)
    for index, block in enumerate(config.blocks):
        for position, filters in enumerate(block):
            downsample = index > 0 and position == 0
            x = layers.Conv2D(filters, 3, strides=2 if downsample else 1, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
    return x


def _resnet18(image: keras.KerasTensor, config: ResNet18) -> keras.KerasTensor:
    x = layers.Rescaling(1 / 64, offset=-2.0)(image)  # roughly mean 0 and standard deviation 1 on photos
    x = layers.ReLU()(_conv_batchnorm(x, config.width))
    for stage in range(4):
        for block in range(2):
            x = _residual_block(x, config.width << stage, strides=2 if stage and not block else 1)
    return x


def _residual_block(x: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    residual = layers.ReLU()(_conv_batchnorm(x, filters, strides=strides))
    residual = _conv_batchnorm(residual, filters)
    if strides > 1:
        x = _conv_batchnorm(x, filters, size=1, strides=strides)
    return layers.ReLU()(layers.Add()([x, residual]))


def _conv_batchnorm(x: keras.KerasTensor, filters: int, size: int = 3, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    # Runs may be short, so the statistics cover only about ten steps. Epsilon as in the original.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
