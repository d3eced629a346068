"""Find the images that arguments of the command line name."""

import io
import os

import pytest

from image_gateway_client.files import SUFFIXES, find_images, resolve_stdin
from vision.headers.header import ImageFormat


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "pets/b.JPG",
        "pets/a.png",
        "pets/notes.txt",
        "pets/.hidden.jpg",
        "pets/.thumbnails/a.jpg",
        "pets/wild/fox.webp",
        "pets/wild/._fox.webp",
        "pets/wild/deep/owl.tiff",
        "bare/readme.md",
        "odd.xyz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


PETS = ["pets/a.png", "pets/b.JPG", "pets/wild/fox.webp", "pets/wild/deep/owl.tiff"]


@pytest.mark.usefixtures("folder")
def test_a_folder_contributes_the_images_below_in_a_fixed_order():
    assert find_images(["pets"]).images == PETS
    assert find_images(["./pets/"]).images == PETS
    assert find_images(["pets/wild"]).images == PETS[2:]


@pytest.mark.usefixtures("folder")
def test_a_named_file_is_included_whatever_its_suffix():
    names = ["odd.xyz", "pets/.hidden.jpg", "not/there.jpg", "-", "https://a.example/x?y=1"]
    assert find_images(names).images == names


@pytest.mark.usefixtures("folder")
def test_each_image_is_listed_once():
    assert find_images(["pets/b.JPG", "pets", "pets", "-", "-"]).images == ["pets/b.JPG", PETS[0], *PETS[2:], "-"]


@pytest.mark.usefixtures("folder")
def test_a_folder_without_images_is_reported():
    found = find_images(["bare", "pets/wild"])
    assert (found.images, found.empty_folders) == (PETS[2:], ["bare"])


def test_links_to_folders_are_not_followed_and_links_to_images_are(folder):
    (folder / "pets/loop").symlink_to(folder / "pets")
    (folder / "pets/z.png").symlink_to(folder / "pets/a.png")
    assert find_images(["pets"]).images == ["pets/a.png", "pets/b.JPG", "pets/z.png", *PETS[2:]]


def test_a_path_that_cannot_be_examined_is_listed():
    names = ["x" * 5000, "a\0b"]
    assert find_images(names).images == names


def test_a_folder_that_cannot_be_read_is_listed_itself(folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("wild"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_images(["pets"]).images == ["pets/a.png", "pets/b.JPG", "pets/wild"]
    assert folder.is_dir()


def test_names_that_are_not_text_are_listed(folder):
    name = os.fsdecode(b"pets/caf\xe9.png")
    (folder / name).write_bytes(b"x")
    assert name in find_images(["pets"]).images


@pytest.mark.parametrize("kind", list(ImageFormat))
def test_every_format_that_the_gateway_accepts_has_its_suffix(kind):
    assert f".{kind.value}" in SUFFIXES


def test_a_dash_is_the_standard_input():
    stdin = io.BytesIO()
    assert resolve_stdin("-", stdin) is stdin
    assert resolve_stdin("x.png", stdin) == "x.png"
