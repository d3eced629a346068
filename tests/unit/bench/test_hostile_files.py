import pytest

from bench import hostile_files
from vision.decode import read_header
from vision.errors import ImageError


def test_files_declare_what_they_are_to_cost():
    for file, size in (
        (hostile_files.avif(), (7071, 7071)),
        (hostile_files.png(300, 200), (300, 200)),
        (hostile_files.bmp(300, 200), (300, 200)),
        (hostile_files.jpeg_of_many_scans(300, 200, 2), (300, 200)),
        (hostile_files.flat(".tif", 30), (30, 30)),
    ):
        header = read_header(file)
        assert (header.width, header.height) == size


@pytest.mark.parametrize(
    "file",
    [
        hostile_files.png_with_a_chunk_behind_its_end(),
        hostile_files.tiff(153, 55, 1_700_000),
        hostile_files.jpeg_of_many_scans(300, 200, 5000),
    ],
    ids=["png", "tiff", "jpeg"],
)
def test_files_that_no_encoder_writes_are_refused_by_their_header(file):
    with pytest.raises(ImageError):
        read_header(file)
