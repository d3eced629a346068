"""Find the images that arguments of the command line name."""

import contextlib
import io
import os
import socket

import pytest

from image_gateway_client.files import (
    OTHER_NAMES,
    SPECIAL,
    SUFFIXES,
    describe_left_out,
    find_images,
    is_stream,
    resolve_stdin,
)
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
    found = find_images(["pets"])
    assert found.images == ["pets/a.png", "pets/b.JPG", "pets/z.png", *PETS[2:]]
    assert (found.linked_folders, dict(found.left_out)) == (1, {".txt": 1})
    assert describe_left_out(found.left_out, 1) == "1 other file left out (.txt 1), 1 linked folder not searched"
    assert describe_left_out({}, 2) == "2 linked folders not searched"


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


@pytest.mark.parametrize("name", ["a.HEIC", "b.heif", "c.Jpeg", "d.TIF"])
def test_the_suffix_may_be_in_capitals_or_that_of_a_telephone(folder, name):
    (folder / "bare" / name).write_bytes(b"x")
    assert find_images(["bare"]).images == [f"bare/{name}"]


def test_pipes_sockets_and_folders_with_the_name_of_an_image_are_no_images(folder):
    os.mkfifo(folder / "pets/pipe.jpg")
    (folder / "pets/link.jpg").symlink_to(folder / "pets/pipe.jpg")
    (folder / "pets/folder.jpg").mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("pets/socket.png")
        found = find_images(["pets"])

    assert found.images == PETS
    assert found.left_out == {".txt": 1, SPECIAL: 3}


@pytest.mark.parametrize(
    ("left_out", "text"),
    [
        ({}, ""),
        ({".mov": 1}, "1 other file left out (.mov 1)"),
        ({".mov": 1, ".txt": 2}, "3 other files left out (.txt 2, .mov 1)"),
        (dict.fromkeys("abcdef", 1), "6 other files left out (a 1, b 1, c 1, d 1, e 1, others)"),
    ],
)
def test_what_is_left_out_is_counted_by_its_suffix(left_out, text):
    assert describe_left_out(left_out) == text


@pytest.mark.usefixtures("folder")
def test_names_without_a_plain_suffix_are_counted_together(folder):
    for name in ("README", "a.b c", "x.\x1b[31m"):
        (folder / "bare" / name).write_bytes(b"x")
    assert find_images(["bare", "pets"]).left_out == {".md": 1, ".txt": 1, OTHER_NAMES: 3}


def test_a_dash_is_the_standard_input(monkeypatch):
    stdin = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stdin))
    assert resolve_stdin("-") is stdin
    assert resolve_stdin("x.png") == "x.png"


def test_a_name_of_a_stream_may_stand_for_another_image_next_time(folder):
    os.mkfifo(folder / "pipe.jpg")

    assert all(map(is_stream, ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0", "/dev/null", "pipe.jpg"]))
    assert not any(map(is_stream, ["pets/a.png", "missing.png", "https://a.example/dev/fd/1"]))
