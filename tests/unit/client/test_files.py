"""Arguments of the command line to images."""

import io
import os

import pytest

from image_gateway_client.files import SUFFIXES, find, opened
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
def test_a_folder_gives_the_pictures_below_in_a_fixed_order():
    assert find(["pets"]).images == PETS
    assert find(["./pets/"]).images == PETS
    assert find(["pets/wild"]).images == PETS[2:]


@pytest.mark.usefixtures("folder")
def test_what_is_named_is_asked_whatever_its_suffix():
    names = ["odd.xyz", "pets/.hidden.jpg", "not/there.jpg", "-", "https://a.example/x?y=1"]
    assert find(names).images == names


@pytest.mark.usefixtures("folder")
def test_each_image_is_asked_once():
    assert find(["pets/b.JPG", "pets", "pets", "-", "-"]).images == ["pets/b.JPG", PETS[0], *PETS[2:], "-"]


@pytest.mark.usefixtures("folder")
def test_a_folder_without_pictures_is_told():
    found = find(["bare", "pets/wild"])
    assert (found.images, found.empty) == (PETS[2:], ["bare"])


def test_links_to_folders_are_not_followed_and_links_to_pictures_are(folder):
    (folder / "pets/loop").symlink_to(folder / "pets")
    (folder / "pets/z.png").symlink_to(folder / "pets/a.png")
    assert find(["pets"]).images == ["pets/a.png", "pets/b.JPG", "pets/z.png", *PETS[2:]]


def test_a_name_that_cannot_be_looked_at_is_left_to_the_reading():
    names = ["x" * 5000, "a\0b"]
    assert find(names).images == names


def test_a_folder_that_cannot_be_listed_stands_for_itself(folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("wild"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find(["pets"]).images == ["pets/a.png", "pets/b.JPG", "pets/wild"]
    assert folder.is_dir()


def test_names_that_are_no_text_are_kept(folder):
    name = os.fsdecode(b"pets/caf\xe9.png")
    (folder / name).write_bytes(b"x")
    assert name in find(["pets"]).images


@pytest.mark.parametrize("kind", list(ImageFormat))
def test_every_format_that_the_gateway_takes_has_its_suffix(kind):
    assert f".{kind.value}" in SUFFIXES


def test_a_dash_is_the_standard_input():
    stdin = io.BytesIO()
    assert opened("-", stdin) is stdin
    assert opened("x.png", stdin) == "x.png"
