"""The sections `augmentation` and `training` of a configuration."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from train.config.config_base import ConfigBase, Count, Fraction, Positive, Share

Percent: TypeAlias = Annotated[int, Field(ge=1, le=100)]


class Augmentation(ConfigBase):
    """Random changes of training images; by default none.

    Attributes:
        rand_augment: Strength of two operations drawn for each batch (https://arxiv.org/abs/1909.13719).
        stroke: See `train.networks.augment.RandomStroke`; for light strokes on a dark ground.
        contrast: Distance from the image's mean is multiplied by at least 1 - contrast and at most 1 + contrast.
        brightness: At most so much is added, as a fraction of white.
        rotation_degrees: See `train.networks.augment.RandomAffine`, as for all down to `share`.
        scale: Smallest and largest.
        shear: The most.
        shift: The most, as a fraction of the side.
        share: Fraction of the images that are turned, scaled, sheared and shifted.
        flip: Half of the images are mirrored, left to right.
        flip_vertical: Half of the images are mirrored, upside down.
        shift_pixels: Shifted by at most so many whole pixels; what comes into view is mirrored at the edge.
        blur: Fraction of the images that are blurred, by a Gaussian of one pixel at most.
        noise: Standard deviation of what is added to each value, as a fraction of white.
        jpeg: Fraction of the images that are re-encoded as JPEG.
        jpeg_quality: Lowest and highest.
        mix_up: Two images are laid over each other, and their classes (https://arxiv.org/abs/1710.09412): the
            parameter of the Beta distribution of their shares.
        cut_mix: A part of an image is replaced by that of another, and its classes by that part
            (https://arxiv.org/abs/1905.04899): the same parameter.
    """

    rand_augment: Share = 0.0
    stroke: Share = 0.0
    contrast: Fraction = 0.0
    brightness: Fraction = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    shear: Fraction = 0.0
    shift: Fraction = 0.0
    share: Share = 1.0
    flip: bool = False
    flip_vertical: bool = False
    shift_pixels: Annotated[int, Field(ge=0)] = 0
    blur: Share = 0.0
    noise: Fraction = 0.0
    jpeg: Share = 0.0
    jpeg_quality: tuple[Percent, Percent] = (60, 95)
    mix_up: Share = 0.0
    cut_mix: Share = 0.0

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the smallest size comes first, then the largest")
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality: the lowest quality comes first, then the highest")
        if self.mix_up and self.cut_mix:
            raise ValueError("mix_up and cut_mix: images are mixed in one way or the other, not in both")
        return self


class Transfer(ConfigBase):
    """How a network that was trained elsewhere is put to a new use.

    Before the epochs of `training` there are others in which its new last layer learns alone. Images are not
    changed then, so all that comes before that layer is computed once.

    Attributes:
        frozen_epochs: So many, without warm-up, by AdamW.
        frozen_learning_rate: At its highest.
        fine_tune_from: Name of the first layer that learns afterwards, by default the very first. Batch
            normalisation stays as it is: the statistics of few images are worse than those of many.
    """

    frozen_epochs: Count
    frozen_learning_rate: Positive
    fine_tune_from: str | None = None


class Training(ConfigBase):
    """The optimisation: the learning rate is warmed up from zero, then goes down to zero.

    Attributes:
        epochs: Passes over the training images, the warm-up included; may be 0 after those of `transfer`.
        batch_size: Images per step; an incomplete last batch of an epoch is left out.
        optimizer: `adamw` (https://arxiv.org/abs/1711.05101), `sgd` with Nesterov's momentum, or `muon`
            (https://kellerjordan.github.io/posts/muon/, see `train.training.optimizer.ConvolutionMuon`).
        learning_rate: At its highest.
        schedule: How it goes down, as a `cosine` or `linear`.
        warmup_epochs: How long it goes up.
        momentum: Of `sgd` and `muon`.
        weight_decay: Per step, times the learning rate.
        label_smoothing: Probability mass taken from the right class (https://arxiv.org/abs/1512.00567).
        small_images: Pairs (epochs, pixels): for so many epochs at the start, images are shrunk to that side
            before they are learnt from, which takes less time (https://arxiv.org/abs/1806.01427).
        mixed_precision: Compute in bfloat16, keep weights in float32.
        patience: Stop when the loss of the validation images has not been lower for so many epochs, those of
            `transfer` not counted, and take the weights that it was lowest with. By default the last ones are
            taken.
        transfer: What comes before, of a network that was trained elsewhere.
    """

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Count
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: Positive
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Fraction = 0.0
    small_images: tuple[tuple[Count, Count], ...] = ()
    mixed_precision: bool = False
    patience: Count | None = None
    transfer: Transfer | None = None

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not self.epochs and not self.transfer:
            raise ValueError("epochs: at least 1 without transfer")
        return self

    @property
    def frozen(self) -> "Training | None":
        """The optimisation of the last layer alone."""
        if self.transfer is None:
            return None
        changes = {
            "epochs": self.transfer.frozen_epochs,
            "learning_rate": self.transfer.frozen_learning_rate,
            "optimizer": "adamw",
            "warmup_epochs": 0.0,
        }
        return self.model_copy(update=changes)

    def side(self, epoch: int) -> int | None:
        """Tell to which side images are shrunk in an epoch, the first being 0; None for as they are."""
        for epochs, pixels in self.small_images:
            if epoch < epochs:
                return pixels
            epoch -= epochs
        return None
