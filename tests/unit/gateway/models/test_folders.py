"""A model's folder in every shape that people make, with what the message names."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gateway.model_client.protocol import VersionStatus
from gateway.models.folders import ModelFolder, describe_unavailability

VARIABLES = ("variables/variables.index", "variables/variables.data-00000-of-00001")
COMPLETE = ("saved_model.pb", *VARIABLES)
TFLITE = ("model.tflite",)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ModelFolder]:
    """Return a function that makes a model's folder with these files; names that end in `/` are folders."""

    def make(files: Iterable[str], versions: Iterable[int] = ()) -> ModelFolder:
        for name in files:
            path = tmp_path / "pets" / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(b"content")
        return ModelFolder.configured(str(tmp_path / "pets"), tmp_path / "models.config", versions)

    return make


def in_version(version: str, files: Iterable[str] = COMPLETE) -> list[str]:
    return [f"{version}/{file}" for file in files]


@pytest.mark.parametrize(
    "files",
    [
        in_version("1"),
        in_version("1", ["saved_model.pb"]),
        in_version("1", ["saved_model.pbtxt", *VARIABLES]),
        in_version("1", TFLITE),
        in_version("1", [*COMPLETE, *TFLITE]),
        in_version("00000123"),
        in_version("1 "),
        in_version("0"),
        [*in_version("1"), "card.json", "2.tmp/saved_model.pb", "archive.zip", "model.keras"],
        ["1/", *in_version("2")],
    ],
)
def test_a_folder_that_can_be_served_has_no_fault(make: Callable[..., ModelFolder], files: list[str]):
    assert make(files).describe_fault() is None


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ([], "The folder {} does not exist. Correct base_path in models.config."),
        (["./"], "{} is empty. Put a SavedModel or model.tflite into {}/1."),
        (["card.json"], "{} contains card.json, and no saved_model.pb or model.tflite. Put one into {}/1."),
        (COMPLETE, "{} has a model itself, without the folder of a version. Move its files to {}/1."),
        (TFLITE, "{} has a model itself, without the folder of a version. Move its files to {}/1."),
        (in_version("v1"), "{}/v1 is not named like a version, by a whole number. Rename it to {}/1."),
        (in_version("1.0"), "{}/1.0 is not named like a version, by a whole number. Rename it to {}/1."),
        (in_version("release-3"), "{}/release-3 is not named like a version, by a whole number. Rename it to {}/3."),
        (in_version("latest"), "{}/latest is not named like a version, by a whole number. Rename it to {}/1."),
        (
            in_version("9" * 20),
            "{}/" + "9" * 20 + " is not named like a version, by a whole number. Rename it to {}/1.",
        ),
        (["1/"], "{}/1 is empty. Put a SavedModel or model.tflite into {}/1."),
        (
            in_version("1", VARIABLES),
            "{}/1 contains variables, and no saved_model.pb or model.tflite. Put one into {}/1.",
        ),
        (in_version("1/saved_model"), "The model is in {}/1/saved_model, too deep. Move its files to {}/1."),
        (in_version("export/pets"), "The model is in {}/export/pets, too deep. Move its files to {}/1."),
        ([*in_version("1"), "2"], "{}/2 is a file, not a folder with a SavedModel. Remove it or give it another name."),
        (
            in_version("1", COMPLETE[:2]),
            "{}/1/variables/variables.data-00000-of-00001 is missing. Copy the model again.",
        ),
        (in_version("1", (COMPLETE[0], COMPLETE[2])), "{}/1/variables/variables.index is missing."),
    ],
)
def test_a_fault_names_its_cause_and_what_mends_it(
    make: Callable[..., ModelFolder], tmp_path: Path, files: list[str], fault: str
):
    described = make(files).describe_fault()

    assert described is not None
    assert described.startswith(fault.replace("{}", str(tmp_path / "pets")))


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("model.keras", 'keras.models.load_model("{file}").export("{version}")'),
        ("model.weights.h5", 'model.load_weights("{file}"), then model.export("{version}")'),
        ("model.H5", "python -m train import-keras {file}"),
        ("resnet18.pth", "python -m train import-torch {file}"),
        ("weights.safetensors", "python -m train import-torch {file}"),
        ("model.onnx", "onnx2tf -i {file} -o {version}"),
        ("pets.tflite", "mkdir -p {version} && cp {file} {version}/model.tflite"),
        ("model.tar.gz", "Unpack it into {version}."),
    ],
)
@pytest.mark.parametrize("place", ["", "1/"])
def test_a_file_of_another_kind_is_named_with_what_converts_it(
    make: Callable[..., ModelFolder], tmp_path: Path, place: str, file: str, advice: str
):
    described = make([place + file]).describe_fault()

    path = tmp_path / "pets" / place / file
    assert described is not None
    assert described.startswith(f"{path} is not a SavedModel. ")
    assert advice.format(file=path, version=tmp_path / "pets" / "1") in described


@pytest.mark.parametrize("name", ["pets", "pets/1"])
def test_a_dangling_link_is_named_with_its_target(make: Callable[..., ModelFolder], tmp_path: Path, name: str):
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/nowhere/model")

    assert make([]).describe_fault() == f"{link} is a link to /nowhere/model, which does not exist. Correct the link."


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../blobs/4d7a")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 23530\n"


@pytest.mark.parametrize("file", [*COMPLETE, *TFLITE])
@pytest.mark.parametrize(
    ("replace", "fault"),
    [
        (lambda path: path.write_bytes(b""), "{} is empty. Copy the model again."),
        (lambda path: path.write_bytes(LFS_POINTER), "{} only points to its content. Fetch that: git lfs pull"),
        (
            lambda path: path.write_bytes(b"/annex/objects/SHA256E-s23530--4d7a\n"),
            "{} only points to its content. Fetch that: git annex get .",
        ),
        (replace_by_link, "{} is a link to ../blobs/4d7a, which does not exist. Correct the link."),
        (replace_by_folder, "{} is not a file, but a model has one of this name."),
    ],
)
def test_a_file_without_its_content_is_named(
    make: Callable[..., ModelFolder], tmp_path: Path, file: str, replace: Callable[[Path], object], fault: str
):
    folder = make(in_version("1", TFLITE if file in TFLITE else COMPLETE))
    path = tmp_path / "pets" / "1" / file
    replace(path)

    described = folder.describe_fault()

    assert described is not None
    assert described.startswith(fault.replace("{}", str(path)))


@pytest.mark.parametrize("other", ["saved_model.pbtxt", "model.tflite"])
def test_a_dangling_link_beside_another_form_of_the_model_does_no_harm(
    make: Callable[..., ModelFolder], tmp_path: Path, other: str
):
    folder = make(in_version("1", ["saved_model.pb", other]))
    replace_by_link(tmp_path / "pets" / "1" / "saved_model.pb")

    assert folder.describe_fault() is None


@pytest.mark.parametrize(("platform", "fault"), [("", "lacks model_platform"), ("pytorch", 'has model_platform: "py')])
def test_an_entry_of_another_platform_is_named_wherever_its_folder_is(tmp_path: Path, platform: str, fault: str):
    folder = ModelFolder.configured("/on/another/machine", tmp_path / "models.config", platform=platform)

    assert describe_unavailability(folder, []).startswith(f": Its entry in models.config {fault}")


def test_a_base_path_that_is_a_model_file_is_named(tmp_path: Path):
    file = tmp_path / "model.keras"
    file.touch()

    fault = ModelFolder.configured(str(file), tmp_path / "models.config").describe_fault()

    assert fault is not None
    assert fault.startswith(f"{file} is not a SavedModel. ")


def test_a_requested_version_that_is_missing_is_named(make: Callable[..., ModelFolder], tmp_path: Path):
    fault = make([*in_version("1"), *in_version("2")], versions=[2, 7]).describe_fault()

    assert fault == f"models.config requests version 7, but {tmp_path / 'pets'} has 1, 2."


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_named(make: Callable[..., ModelFolder], tmp_path: Path):
    folder = make(in_version("1"))
    (tmp_path / "pets").chmod(0)
    try:
        assert folder.describe_fault() == f"{tmp_path / 'pets'} cannot be read: Permission denied."
    finally:
        (tmp_path / "pets").chmod(0o700)


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_uri_of_a_folder_is_that_folder(tmp_path: Path, host: str):
    folder = ModelFolder.configured(f"file://{host}{tmp_path}/pets", tmp_path / "models.config")

    assert folder.is_visible
    assert folder.describe_fault() == f"The folder {tmp_path}/pets does not exist. Correct base_path in models.config."


def test_a_uri_with_two_slashes_is_named(tmp_path: Path):
    folder = ModelFolder.configured("file://models/pets", tmp_path / "models.config")

    assert folder.describe_fault() == (
        "The folder /pets does not exist. Correct base_path in models.config. The URI of a folder has three slashes."
    )


def test_a_uri_of_another_file_system_is_the_model_servers_own(tmp_path: Path):
    folder = ModelFolder.configured("s3://bucket/pets", tmp_path / "models.config")

    assert not folder.is_visible
    assert folder.describe_fault() is None


def test_an_entry_without_a_folder_is_named(tmp_path: Path):
    fault = ModelFolder.configured("", tmp_path / "models.config").describe_fault()

    assert fault == "Its entry in models.config has no base_path. Add the folder with its versions."


def test_a_relative_path_is_found_beside_the_folder_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "models" / "pets").mkdir(parents=True)

    folder = ModelFolder.configured("models/pets", tmp_path / "models" / "models.config")

    assert folder.path == tmp_path / "models" / "pets"


# What callers are told


def test_what_is_visibly_wrong_comes_first(make: Callable[..., ModelFolder], tmp_path: Path):
    end = describe_unavailability(make(["1/"]), [VersionStatus(1, "END", "no model file")])

    assert end == f": {tmp_path}/pets/1 is empty. Put a SavedModel or model.tflite into {tmp_path}/pets/1."


def test_a_version_that_failed_is_named_with_the_model_servers_reason(make: Callable[..., ModelFolder]):
    statuses = [VersionStatus(1, "END", "Graph execution error:\n\nNo such\tthing\n\t [[{{node x}}]]")]

    end = describe_unavailability(make(in_version("1")), statuses)

    assert end == (
        ": version 1 could not be loaded. The model server says: Graph execution error: No such thing [[{{node x}}]]. "
        "Export the model again."
    )


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Can't parse /m/1/saved_model.pb as binary proto", "Its saved_model.pb is damaged, or not the file of"),
        ("A SavedModel needs TensorFlow, which is not installed", "It has no model.tflite, and TensorFlow is not"),
        (
            "Specified file path does not appear to contain a SavedModel bundle (should have a file",
            "The model server found no SavedModel in it. model.tflite alone is served only by a model server with",
        ),
        ("Cannot build Interpreter from buffer.", "Its model.tflite is damaged, or not the file of"),
        ("TensorFlow Lite crashes on this file (SIGSEGV)", "Its model.tflite is damaged: TensorFlow Lite crashes on"),
        ("TensorFlow Lite does not compute this file within 60 s", "Its model.tflite may be damaged: computing it"),
        ("Could not find meta graph def matching supplied tags: { serve }. To", "It has no graph with the one tag"),
        ("Graph execution error:\n\nRead less bytes than requested\n\t [[", "Its files in `variables` are cut off."),
        ("TensorBundle at /m: Checksum does not match: stored 1", "Its files in `variables` are damaged."),
        ("Data loss: not an sstable (bad magic number)", "Its files in `variables` are damaged."),
        (
            "Op type not registered 'Own' in binary running on",
            "It has an operation that the model server does not know",
        ),
    ],
)
def test_a_broken_version_is_described_with_what_mends_it(make: Callable[..., ModelFolder], message: str, fault: str):
    end = describe_unavailability(make(in_version("1")), [VersionStatus(1, "END", message)])

    assert end.startswith(f": version 1 could not be loaded. {fault}")
    assert "\n" not in end


def test_the_folder_of_an_unavailable_model_is_not_read_for_every_request(
    make: Callable[..., ModelFolder], monkeypatch: pytest.MonkeyPatch
):
    folder, reads = make(["1/"]), []
    monkeypatch.setattr(time, "monotonic", lambda: 1.5)
    monkeypatch.setattr(os, "scandir", lambda path, scandir=os.scandir: reads.append(path) or scandir(path))

    first = describe_unavailability(folder, [])
    reads_of_first = len(reads)

    assert describe_unavailability(folder, []) == first
    assert len(reads) == reads_of_first > 0


def test_a_folder_that_only_the_model_server_sees_is_named(tmp_path: Path):
    folder = ModelFolder.configured("/on/another/machine", tmp_path / "models.config")

    end = describe_unavailability(folder, [])

    assert end == (
        ": it has found none in /on/another/machine yet. Check base_path in models.config, or try again shortly."
    )


def test_a_version_that_is_loading_is_worth_another_try(make: Callable[..., ModelFolder]):
    assert describe_unavailability(make(in_version("1")), [VersionStatus(1, "LOADING")]) == ". Try again shortly."
