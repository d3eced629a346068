"""The section `data` of a configuration: where labelled images come from."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Sha256

OpenFraction: TypeAlias = Annotated[float, Field(gt=0, lt=0.5)]
MnistFile: TypeAlias = Literal[
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
]
SEPARATOR = ";"


class MnistData(ConfigBase):
    """MNIST's four idx files, from a directory or from the internet.

    Attributes:
        directory: Where the files are, packed (.gz) or not; what is missing is downloaded to it.
        mirrors: URLs of folders that hold the packed files, tried in this order.
        sha256: Of each file unpacked: every distribution packs its own way.
        validation: How many of the training images are kept back to watch the training with.
        title: Name, for the model card.
        licence: Likewise.
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
        directory: Folder of the archive; if it is missing there, it is downloaded.
        mirrors: URLs of folders that hold the archive, tried in this order.
        archive_sha256: Of the archive.
        train_sha256: Of the training images, uint8[50000, 32, 32, 3] in RGB.
        validation: How many of the training images are kept back to watch the training with.
        title: Name, for the model card.
        licence: Likewise.
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
    """Pictures on disk that nobody has split yet; see `train.data.splits` for how that is done.

    Attributes:
        directory: Where the pictures are.
        validation: Share of the pictures that is kept back to watch the training with, and to calibrate with.
        test: Share that is kept back to measure with.
        cache: Folder of decoded pictures, so that each is decoded once; see `train.data.decoded_cache`.
        title: Name, for the model card.
        licence: Likewise.
    """

    directory: Path
    validation: OpenFraction = 0.15
    test: OpenFraction = 0.15
    cache: Path = Path("data/cache")
    title: str
    licence: str = Field(min_length=1)


class FolderData(OwnData):
    """A folder of folders: each is named as a label and holds pictures of that class, itself or in further folders.

    Files beside the folders, and what begins with a dot, are none of the data.
    """

    kind: Literal["folders"]


class TableData(OwnData):
    """A CSV file in UTF-8 whose first line names the columns; columns that are not asked for may be there.

    Attributes:
        file: The CSV, relative to `directory`.
        image_column: Path of each picture, relative to `directory`.
        label_column: Holds the label; of a multi-label set any number of labels. None where each label has a
            column of its name, with 1 in the rows that are of the class and 0 in the others.
        separator: Between the labels of a multi-label set in `label_column`.
    """

    kind: Literal["csv"]
    file: Path
    image_column: str = "file"
    label_column: str | None = None
    separator: str = Field(SEPARATOR, min_length=1)

    @property
    def path(self) -> Path:
        """Where the CSV is."""
        return self.directory / self.file
