"""The sections `augmentation` and `training` of a configuration."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from train.config.config_base import ConfigBase, Count, Fraction, Positive, Share, expecting

AFFINE_KEYS = ("crop", "rotation_degrees", "scale", "shear", "shift")
"""The keys of `Augmentation` that `train.networks.augment.RandomAffine` applies."""
Percent: TypeAlias = Annotated[int, Field(ge=1, le=100)]
Monitor: TypeAlias = Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_micro_f1"]
"""Metrics of the validation images after each epoch; of `val_loss`, lower values are better."""
ClassWeights: TypeAlias = Annotated[
    Literal["balanced"] | Mapping[str, Positive],
    expecting("balanced or a weight above 0 for each label, such as {cat: 2}"),
]
Area: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class Augmentation(ConfigBase):
    """Random changes of training images; by default none.

    Attributes:
        rand_augment: Strength of two operations drawn for each batch (https://arxiv.org/abs/1909.13719).
        stroke: Strength of stroke thickening and thinning, see `train.networks.augment.RandomStroke`; for light
            strokes on a dark background.
        contrast: The distance from the image's mean is multiplied by 1 - contrast to 1 + contrast.
        brightness: At most this fraction of white is added.
        saturation: Saturation is multiplied by (1 - saturation) / (1 + saturation) to the inverse of that.
        hue: Largest shift of the hue either way, as a fraction of half a turn of the colour wheel.
        crop: Smallest and largest area, as a fraction, of a random part that is enlarged to the whole image; its sides
            are in a ratio of 3/4 to 4/3 of those of the image. This and all keys down to `share` belong to
            `train.networks.augment.RandomAffine`.
        rotation_degrees: Largest rotation either way.
        scale: Smallest and largest scale.
        shear: Largest shear.
        shift: Largest shift, as a fraction of the side.
        share: Fraction of the images that are cropped, rotated, scaled, sheared and shifted.
        flip: Mirror half of the images left to right.
        flip_vertical: Mirror half of the images upside down.
        shift_pixels: Largest shift in whole pixels; the image is reflected at its edges.
        blur: Fraction of the images that are blurred by a Gaussian of at most one pixel.
        erase: Fraction of the images of which a rectangle, of up to a third of the area, is replaced by noise
            (https://arxiv.org/abs/1708.04896).
        noise: Standard deviation of the noise added to each value, as a fraction of white.
        jpeg: Fraction of the images that are re-encoded as JPEG.
        jpeg_quality: Lowest and highest JPEG quality.
        mix_up: Blend two images and their targets (https://arxiv.org/abs/1710.09412): the parameter of the Beta
            distribution of their shares.
        cut_mix: Replace a part of an image by that of another, and the targets in proportion
            (https://arxiv.org/abs/1905.04899): the parameter of the Beta distribution of their shares.
        mix_share: Fraction of the images that `mix_up` or `cut_mix` mixes.
    """

    rand_augment: Share = 0.0
    stroke: Share = 0.0
    contrast: Fraction = 0.0
    brightness: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Share = 0.0
    crop: tuple[Area, Area] | None = None
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    shear: Fraction = 0.0
    shift: Fraction = 0.0
    share: Share = 1.0
    flip: bool = False
    flip_vertical: bool = False
    shift_pixels: Annotated[int, Field(ge=0)] = 0
    blur: Share = 0.0
    erase: Share = 0.0
    noise: Fraction = 0.0
    jpeg: Share = 0.0
    jpeg_quality: tuple[Percent, Percent] = (60, 95)
    mix_up: Share = 0.0
    cut_mix: Share = 0.0
    mix_share: Share = 1.0

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the smallest scale comes first, then the largest")
        if self.crop and self.crop[0] > self.crop[1]:
            raise ValueError("crop: the smallest area comes first, then the largest")
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality: the lowest quality comes first, then the highest")
        if self.mix_up and self.cut_mix:
            raise ValueError("mix_up and cut_mix: only one of them can be set")
        return self

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        for key, owners in (("share", AFFINE_KEYS), ("jpeg_quality", ("jpeg",)), ("mix_share", ("mix_up", "cut_mix"))):
            if self.is_set(key) and not self.is_set(*owners):
                raise ValueError(
                    f"{key}: has no effect without {' or '.join(owners)}; set one of these, or remove {key}"
                )
        return self

    def is_set(self, *keys: str) -> bool:
        """Return whether one of these keys has another value than by default; without keys, whether any has."""
        fields = type(self).model_fields
        return any(getattr(self, key) != fields[key].default for key in keys or fields)


class Stage(ConfigBase):
    """A stage of fine-tuning, with a learning rate that rises and falls like that of `Optimization`.

    Attributes:
        epochs: Number of its epochs.
        learning_rate: Its peak learning rate.
        fine_tune_from: Name of the first layer that it trains; by default the first of the network.
    """

    epochs: Count
    learning_rate: Positive
    fine_tune_from: str | None = None


class Transfer(ConfigBase):
    """Transfer learning: a new last layer for a pretrained network.

    Before the epochs of `stages` and `training`, only the new last layer is trained. Images are not augmented
    meanwhile, so the features before that layer are computed only once.

    Attributes:
        frozen_epochs: Number of these epochs, without warm-up.
        frozen_learning_rate: Peak learning rate of these epochs.
        frozen_optimizer: Optimiser of these epochs, `adamw` or `sgd`.
        stages: Stages of fine-tuning before the epochs of `training`, such as one for each further block of layers.
        fine_tune_from: Name of the first layer trained in the epochs of `training`; by default the first of the
            network. Batch normalisation is never trained: statistics of few images are worse than those of many.
        backbone_learning_rate_factor: Factor of the learning rate of all layers but the new last one, when they are
            trained.
    """

    frozen_epochs: Count
    frozen_learning_rate: Positive
    frozen_optimizer: Literal["adamw", "sgd"] = "adamw"
    stages: tuple[Stage, ...] = ()
    fine_tune_from: str | None = None
    backbone_learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = 1.0


class Optimization(ConfigBase):
    """The section `training`: the learning rate rises from zero during warm-up, then falls to zero.

    Attributes:
        epochs: Passes over the training images, including the warm-up; may be 0 with `transfer`.
        batch_size: Images per step; an incomplete last batch of an epoch is dropped.
        optimizer: `adamw` (https://arxiv.org/abs/1711.05101), `sgd` with Nesterov momentum, or `muon`
            (https://kellerjordan.github.io/posts/muon/, see `train.training.optimizer.ConvolutionMuon`).
        learning_rate: Peak learning rate of `epochs`; stated also if these are 0, for the day that they are not.
        schedule: How the learning rate falls: as a `cosine`, or `linear`.
        warmup_epochs: Length of the warm-up.
        momentum: Momentum of `sgd` and `muon`.
        weight_decay: Weight decay per step, multiplied by the learning rate.
        ema_momentum: Share of the old value in each step of an exponential moving average of the weights, which is what
            is evaluated and exported; 0 for the weights themselves.
        loss: `cross_entropy`, or `focal`, which gives images that are classified well less weight
            (https://arxiv.org/abs/1708.02002, with gamma 2).
        class_weights: Weight of the loss of each label's images, or of its positive decisions if the task is
            multilabel; 1 for labels that are left out. `balanced` gives every label the same sum of weights, or its
            positive decisions that of its negative ones.
        sampling: `shuffle` takes each image once an epoch; `balanced` draws the same number of images of each class,
            those of rare classes repeatedly.
        label_smoothing: Probability mass taken from the true class (https://arxiv.org/abs/1512.00567).
        small_images: Pairs (epochs, pixels): for that many epochs at the start, images are reduced to that side,
            which takes less time (https://arxiv.org/abs/1806.01427).
        mixed_precision: Compute in bfloat16, keep weights in float32. `auto` does so on GPUs that compute in bfloat16.
        patience: End a stage after this many of its epochs in which `monitor` does not improve, and use the weights of
            the best epoch so far: for the next stage, or as the result. The frozen epochs of `transfer` are no such
            stage. By default no stage ends early, and the last weights are used.
        monitor: The metric of the validation images that says which epoch is the best one, if `patience` is set:
            `val_loss`, `val_accuracy`, `val_macro_f1`, which weights classes equally, or, by the task,
            `val_balanced_accuracy` (multiclass) or `val_micro_f1` (multilabel).
        transfer: Training of the new last layer of a pretrained network.
    """

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Count
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: Positive
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    ema_momentum: Fraction = 0.0
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    class_weights: ClassWeights | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    label_smoothing: Fraction = 0.0
    small_images: tuple[tuple[Count, Count], ...] = ()
    mixed_precision: Annotated[bool | Literal["auto"], expecting("true, false or auto")] = "auto"
    patience: Count | None = None
    monitor: Monitor = "val_loss"
    transfer: Transfer | None = None

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if not self.epochs and not self.transfer:
            raise ValueError("epochs: expected at least 1 without transfer")
        return self

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if self._is_changed("momentum") and self.optimizer == "adamw":
            raise ValueError("momentum: has no effect with adamw; set optimizer to sgd or muon, or remove momentum")
        unused: dict[str, object] = {}
        if self.transfer and not self.epochs:
            unused["transfer.fine_tune_from"] = self.transfer.fine_tune_from
        if self.transfer and not self.fine_tuning:
            unused["transfer.backbone_learning_rate_factor"] = self.transfer.backbone_learning_rate_factor != 1
            unused |= {"patience": self.patience, "small_images": self.small_images}
            unused |= {key: self._is_changed(key) for key in ("optimizer", "momentum", "warmup_epochs")}
        for key, value in unused.items():
            if value:
                raise ValueError(f"{key}: has no effect if epochs is 0; set epochs to 1 or more, or remove {key}")
        return self

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        stages = [stage.epochs for stage in self.fine_tuning]
        if stages and self.warmup_epochs > min(stages):
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} is more than the {min(stages)} epochs of the training or of a"
                " stage, so learning_rate would never be reached; set a lower number"
            )
        small = sum(epochs for epochs, _ in self.small_images)
        if stages and small > sum(stages):
            raise ValueError(
                f"small_images: {small} epochs are more than the {sum(stages)} in which the network learns from images;"
                " remove some"
            )
        return self

    @model_validator(mode="after")
    def _check_monitor(self) -> Self:
        if self._is_changed("monitor") and self.patience is None:
            raise ValueError("monitor: needs patience as well, the number of epochs to wait")
        return self

    @property
    def frozen(self) -> "Optimization | None":
        """Optimisation of the new last layer, or None without `transfer`."""
        if self.transfer is None:
            return None
        changes = {
            "epochs": self.transfer.frozen_epochs,
            "learning_rate": self.transfer.frozen_learning_rate,
            "optimizer": self.transfer.frozen_optimizer,
            "warmup_epochs": 0.0,
        }
        return self.model_copy(update=changes)

    @property
    def fine_tuning(self) -> "tuple[Optimization, ...]":
        """Optimisation of each stage after the frozen epochs; the last is this one itself, unless it has no epochs."""
        stages = []
        if self.transfer:
            for stage in self.transfer.stages:
                transfer = self.transfer.model_copy(update={"fine_tune_from": stage.fine_tune_from})
                changes = {"epochs": stage.epochs, "learning_rate": stage.learning_rate, "transfer": transfer}
                stages.append(self.model_copy(update=changes))
        return (*stages, self) if self.epochs else tuple(stages)

    def _is_changed(self, key: str) -> bool:
        """Whether a key differs from its default, which a recorded configuration states even if it has no effect."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    def image_side(self, epoch: int) -> int | None:
        """Return the side to which images are reduced in an epoch, counted from 0; None for full size."""
        for epochs, pixels in self.small_images:
            if epoch < epochs:
                return pixels
            epoch -= epochs
        return None
