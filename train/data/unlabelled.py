"""Images without labels, in one folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from train.data.contents import read_contents
from train.data.decoded_cache import decode_cached
from train.data.download import OnProgress
from train.data.examples import DataError, DecodedExamples, Example, Skipped
from train.data.folders import check_folder, is_image, list_files
from train.data.splits import deduplicate
from vision.card import InputSpec


class Unlabelled(NamedTuple):
    """The images of a folder.

    Attributes:
        examples: Images without labels: examples without classes.
        skipped: Copies, and files that cannot be decoded.
        labelled: Number of images that were left out because they have labels already.
    """

    examples: DecodedExamples
    skipped: list[Skipped]
    labelled: int


def load_unlabelled(
    folder: Path, spec: InputSpec, cache: Path, on_progress: OnProgress, is_labelled: Callable[[Example], bool]
) -> Unlabelled:
    """Load the images in and below a folder.

    Args:
        folder: Folder of the images.
        spec: The input specification to decode for.
        cache: Folder of the decoded images.
        on_progress: Receives the progress of reading and decoding.
        is_labelled: Tells whether an image has a label already, by its content.

    Raises:
        DataError: There is no folder, or no image without a label in it.
        OSError: A file cannot be read or written.
    """
    check_folder(folder, "images, at any depth")
    examples = [Example(path, (), str(path.relative_to(folder))) for path in list_files(folder) if is_image(path)]
    images, skipped = deduplicate(examples, read_contents(examples, cache / "contents.json", on_progress))
    unlabelled = {digest: image for digest, image in images.items() if not is_labelled(image)}
    labelled = len(images) - len(unlabelled)
    if labelled and not unlabelled:
        raise DataError(
            f"{folder}: each of the {labelled} images has a label already, as the run was trained or evaluated with it;"
            " expected a folder with other images"
        )
    decoded, undecodable = decode_cached(unlabelled, spec, cache / "unlabelled", on_progress)
    if not decoded:
        raise DataError(f"{folder}: expected a folder of images, found none that can be decoded")
    return Unlabelled(decoded, [*skipped, *undecodable], labelled)
