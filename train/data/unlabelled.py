"""Images without labels, in one folder."""

from pathlib import Path

from train.data.contents import read_contents
from train.data.decoded_cache import decode_cached
from train.data.download import OnProgress
from train.data.examples import DataError, DecodedExamples, Example, Skipped
from train.data.folders import is_image, list_files
from train.data.splits import deduplicate
from vision.card import InputSpec


def load_unlabelled(
    folder: Path, spec: InputSpec, cache: Path, on_progress: OnProgress
) -> tuple[DecodedExamples, list[Skipped]]:
    """Load the images in and below a folder; examples without classes.

    Args:
        folder: Folder of the images.
        spec: The input specification to decode for.
        cache: Folder of the decoded images.
        on_progress: Receives the progress of reading and decoding.

    Returns:
        The images, and the copies and files that cannot be decoded.

    Raises:
        DataError: There is no image.
        OSError: A file cannot be read or written.
    """
    examples = [Example(path, (), str(path.relative_to(folder))) for path in list_files(folder) if is_image(path)]
    images, skipped = deduplicate(examples, read_contents(examples, cache / "contents.json", on_progress))
    decoded, undecodable = decode_cached(images, spec, cache / "unlabelled", on_progress)
    if not decoded:
        raise DataError(f"{folder}: expected a folder of images, found none that can be decoded")
    return decoded, [*skipped, *undecodable]
