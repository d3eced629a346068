"""The section `data` of a configuration: where labelled images come from."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Sha256

MinorityShare: TypeAlias = Annotated[float, Field(gt=0, lt=0.5)]
MnistFile: TypeAlias = Literal[
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
]
SEPARATOR = ";"


class MnistData(ConfigBase):
    """MNIST's four idx files, from a directory or from the internet.

    Attributes:
        directory: Folder of the files, compressed (.gz) or not; missing files are downloaded to it.
        mirrors: URLs of folders that hold the compressed files, tried in this order.
        sha256: Checksum of each decompressed file; compressed files differ between mirrors.
        validation: Number of training images held back for validation.
        title: Name of the data set on the model card.
        licence: Licence of the data set on the model card.
    """

    kind: Literal["mnist"]
    directory: Path
    mirrors: tuple[str, ...]
    sha256: dict[MnistFile, Sha256] = Field(min_length=4)
    validation: Count
    title: str
    licence: str


class Cifar10Data(ConfigBase):
    """CIFAR-10, from a directory or from the internet.

    Attributes:
        directory: Folder of the archive; a missing archive is downloaded to it.
        mirrors: URLs of folders that hold the archive, tried in this order.
        archive_sha256: Checksum of the archive.
        train_sha256: Checksum of the training images, uint8[50000, 32, 32, 3] in RGB.
        validation: Number of training images held back for validation.
        title: Name of the data set on the model card.
        licence: Licence of the data set on the model card.
    """

    kind: Literal["cifar10"]
    directory: Path
    mirrors: tuple[str, ...]
    archive_sha256: Sha256
    train_sha256: Sha256
    validation: Count
    title: str
    licence: str = Field(min_length=1)


class OwnData(ConfigBase):
    """Your own images, which `train.data.splits` divides into training, validation and test images.

    Attributes:
        directory: Folder of the images.
        validation: Share of the images held back for validation and calibration.
        test: Share of the images held back for evaluation.
        cache: Folder of decoded images, so that each image is decoded once; see `train.data.decoded_cache`.
        near_duplicates: Whether images that look alike are kept in one part (`group`) or split like others (`ignore`).
        near_duplicate_distance: Largest number of bits, of the 64 of a perceptual hash, in which such images differ.
        title: Name of the data set on the model card.
        licence: Licence of the data set on the model card.
    """

    directory: Path
    validation: MinorityShare = 0.15
    test: MinorityShare = 0.15
    cache: Path = Path("data/cache")
    near_duplicates: Literal["group", "ignore"] = "group"
    near_duplicate_distance: Annotated[int, Field(ge=0, le=32)] = 10
    title: str
    licence: str = Field(min_length=1)


class FolderData(OwnData):
    """One folder for each class, named after its label, with images at any depth.

    Files beside these folders and hidden files are ignored.
    """

    kind: Literal["folders"]


class TableData(OwnData):
    """A CSV file in UTF-8 with a header line; columns not named here are ignored.

    Attributes:
        file: The CSV, relative to `directory`.
        image_column: Column with the path of each image, relative to `directory`.
        label_column: Column with the label, or with any number of labels if the task is multilabel. None if each
            label has a column of its name, with 1 in the rows of that class and 0 in the others.
        separator: Separates the labels of a multilabel data set in `label_column`.
    """

    kind: Literal["csv"]
    file: Path
    image_column: str = "file"
    label_column: str | None = None
    separator: str = Field(SEPARATOR, min_length=1)

    @property
    def path(self) -> Path:
        """Path of the CSV."""
        return self.directory / self.file
